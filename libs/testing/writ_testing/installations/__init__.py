"""Whole installations of real processes for tests."""
