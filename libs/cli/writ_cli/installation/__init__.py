"""Commands about an installation: create, start, stop, targets, principals, agents, archives and backups."""
