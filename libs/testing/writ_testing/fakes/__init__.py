"""Fakes: backends, executors and policies that follow a script."""
