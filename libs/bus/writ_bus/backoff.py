"""Backoff between attempts: growing pauses with jitter."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from itertools import count, islice
from typing import TypeVar

from writ_bus.errors import TimedOut, Unreachable

T = TypeVar("T")
PATIENCE = 10.0
"""Seconds for which an unanswered request is repeated: a cluster elects a new leader in up to 8 s."""

_jitter = random.SystemRandom()


def pause_after(attempt: int, *, first: float = 0.02, most: float = 1.0) -> float:
    """Return the pause in seconds after that attempt, from 0: `first`, doubled each time up to `most`, shortened by up
    to a half at random.
    """
    return min(most, first * 2.0 ** min(attempt, 16)) * _jitter.uniform(0.5, 1.0)


def backoff(attempts: int | None = None, *, first: float = 0.02, most: float = 1.0) -> Iterator[float]:
    return islice((pause_after(attempt, first=first, most=most) for attempt in count()), attempts)


async def patiently(attempt: Callable[[], Awaitable[T]], wait: Callable[[float], Awaitable[None]]) -> T:
    """Repeat a harmless attempt until it is answered. Raises Unreachable, TimedOut when it is not within `PATIENCE`.
    `wait` gets each pause.
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
