"""Decisions, grants and read grants: what they stand on, and how they are made and signed."""
