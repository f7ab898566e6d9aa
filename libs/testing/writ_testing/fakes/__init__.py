"""Fakes: scripted backends, executors and policies."""
