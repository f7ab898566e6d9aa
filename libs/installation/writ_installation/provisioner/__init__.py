"""Keeps NATS users, accounts and streams equal to the installation's files, and enrols agents."""
