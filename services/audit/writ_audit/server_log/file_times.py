"""Convert between Unix time, which files have, and the monotonic clock of this process."""

import time


def to_monotonic(at: float) -> float:
    """Return this Unix time on the monotonic clock, at the latest now."""
    return time.monotonic() - max(0.0, time.time() - at)


def to_unix(at: float) -> float:
    """Return this time of the monotonic clock as Unix time."""
    return time.time() - (time.monotonic() - at)
