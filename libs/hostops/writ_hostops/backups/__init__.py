"""Backups of folders and files by restic, in the repository of the target's inventory entry. Exact ids in tags identify
them.
"""
