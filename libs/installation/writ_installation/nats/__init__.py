"""The NATS server of an installation, its certificate, its addresses and its leaf sites."""
