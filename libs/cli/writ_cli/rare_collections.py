"""Fewer scans for reference cycles while many objects are made that are kept, as imports and comparisons do."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (1_000_000, 20, 20)
"""A comparison of 1,000 rules makes 900,000 objects; to scan each of them twice took a tenth of its time."""


@contextmanager
def rare_collections(*, at_end: bool = False) -> Iterator[None]:
    """Raise the thresholds of the garbage collector, and restore them afterwards. Closed connections are cycles that
    hold certificates: a command that runs for long would keep hundreds of them.

    `at_end`: the command ends after it, so what was made is never scanned.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        if at_end:
            gc.freeze()
        gc.set_threshold(*before)
