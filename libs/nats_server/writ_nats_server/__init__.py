"""The NATS server of an installation: configuration, accounts, process, streams, snapshots and leaf nodes."""
