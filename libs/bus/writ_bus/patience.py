"""Waiting between attempts: longer each time, never all at once."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from itertools import count, islice
from typing import TypeVar

from writ_bus.errors import TimedOut, Unreachable

T = TypeVar("T")
PATIENCE = 10.0
"""How long what nobody answers is asked again, in seconds: a cluster elects a new leader in up to 8 s."""

_jitter = random.SystemRandom()


def backoff(attempts: int | None = None, *, first: float = 0.02, most: float = 1.0) -> Iterator[float]:
    """Pauses in seconds that double from `first` to `most`, each shortened by up to a half at random."""
    pauses = (min(most, first * 2 ** min(n, 16)) * _jitter.uniform(0.5, 1.0) for n in count())
    return islice(pauses, attempts)


async def patiently(attempt: Callable[[], Awaitable[T]], wait: Callable[[float], Awaitable[None]]) -> T:
    """What does no harm when it is done once more, until it is answered. Raises Unreachable, TimedOut when it is not
    within `PATIENCE`. `wait` is told each pause.
    """
    give_up = asyncio.get_running_loop().time() + PATIENCE
    for pause in backoff():
        try:
            return await attempt()
        except (Unreachable, TimedOut):
            if asyncio.get_running_loop().time() > give_up:
                raise
        await wait(pause)
    raise AssertionError("backoff never ends")
