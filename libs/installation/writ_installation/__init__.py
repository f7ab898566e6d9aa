"""The installation: its files and keys, its NATS server, and `writ up`, from an empty folder to running processes."""
