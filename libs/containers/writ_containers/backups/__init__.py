"""Backups of the volumes of containers by restic, which runs where the agent runs; the data comes from the engine."""
