"""The API of Proxmox VE: tokens, TLS, sessions, and errors by what they leave open."""
