"""Requests of operations, their events and outcomes."""
