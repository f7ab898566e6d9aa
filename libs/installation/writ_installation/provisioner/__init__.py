"""Keeps NATS users, accounts and streams in step with the installation's files, and admits agents."""
