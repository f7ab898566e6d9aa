"""Access to NATS: the only importer of nats, and the ports that all other packages use."""
