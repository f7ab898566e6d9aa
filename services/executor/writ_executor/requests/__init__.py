"""Requests and queries of principals."""
