"""The Proxmox agent: runs operations on guests and nodes over the API of Proxmox VE, none without a grant."""
