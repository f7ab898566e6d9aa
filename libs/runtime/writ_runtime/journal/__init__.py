"""The journal as every service needs it: its identity, notices and security events for it, its stops."""
