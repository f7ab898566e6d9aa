"""Stacks from Compose files: a strict type of our own, judged, written out as canonical JSON, and run by Compose."""
