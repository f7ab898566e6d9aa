"""Backups of folders and files by restic, in the repository that the target declares; found by exact ids in tags."""
