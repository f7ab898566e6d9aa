"""What NATS servers refuse, read from their log: nats-server reports violations of permissions nowhere else."""
