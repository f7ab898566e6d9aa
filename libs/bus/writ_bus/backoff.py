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


def pause_after(attempt: int, *, first: float = 0.02, most: float = 1.0) -> float:
    """How long to wait after that attempt, from 0: `first`, then double as long up to `most`, each shortened by up to
    a half at random. In seconds."""
    return min(most, first * 2.0 ** min(attempt, 16)) * _jitter.uniform(0.5, 1.0)


def backoff(attempts: int | None = None, *, first: float = 0.02, most: float = 1.0) -> Iterator[float]:
    """All these pauses."""
    return islice((pause_after(attempt, first=first, most=most) for attempt in count()), attempts)


async def patiently(attempt: Callable[[], Awaitable[T]], wait: Callable[[float], Awaitable[None]]) -> T:
    """What does no harm when it is done once more, until it is answered. Raises Unreachable, TimedOut when it is not
    within `PATIENCE`. `wait` is told each pause.
    """
    give_up = asyncio.get_running_loop().time() + PATIENCE
    for turn in count():
        try:
            return await attempt()
        except (Unreachable, TimedOut):
            if asyncio.get_running_loop().time() > give_up:
                raise
        await wait(pause_after(turn))
    raise AssertionError("nothing else ends this")
