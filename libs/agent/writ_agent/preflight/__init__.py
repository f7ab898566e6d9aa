"""Reads of a target before and during a claim, each under a signed read grant."""
