"""Measurements. Each runs beside a peer in the same run, so that the ratio counts and not the machine."""
