"""Measurements: each beside a peer in the same run, so that what counts is the ratio and not the machine."""
