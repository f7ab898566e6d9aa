"""Access to the NATS server of an installation: its addresses, its certificates, the connections of its own users."""
