"""Measurements. Each runs beside a peer in the same run, so the ratio counts and not the machine."""
