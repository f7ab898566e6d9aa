"""Waiting between attempts: longer each time, never all at once."""

import random
from collections.abc import Iterator
from itertools import count, islice

_jitter = random.SystemRandom()


def backoff(attempts: int | None = None, *, first: float = 0.02, most: float = 1.0) -> Iterator[float]:
    """Pauses in seconds that double from `first` to `most`, each shortened by up to a half at random."""
    pauses = (min(most, first * 2 ** min(n, 16)) * _jitter.uniform(0.5, 1.0) for n in count())
    return islice(pauses, attempts)
