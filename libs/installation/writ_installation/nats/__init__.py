"""The NATS server of an installation, and its leaf sites."""
