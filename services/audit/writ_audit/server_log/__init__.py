"""Refusals of NATS servers, read from their log: nats-server reports violations of permissions nowhere else."""
