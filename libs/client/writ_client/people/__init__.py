"""Verdicts of people on pending operations, and their keys."""
