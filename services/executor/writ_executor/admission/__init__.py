"""Admission of requests: rate limits, open operations, room in the journal."""
