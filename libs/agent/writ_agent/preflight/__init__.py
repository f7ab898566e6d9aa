"""Reads of a target before and beside a claim, each under a signed read grant."""
