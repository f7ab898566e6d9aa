"""Decisions, grants and read grants: their inputs, and how they are made and signed."""
