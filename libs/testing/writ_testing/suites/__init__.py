"""Suites for every implementation of a port."""
