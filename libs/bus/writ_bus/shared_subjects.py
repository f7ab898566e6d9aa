"""Appends to subjects with many writers: security events, counts of refusals, control events.

Each append names the last sequence of its subject, so of two writers one must try again. Of 64 writers in one process
with eight tries each, 49 gave up. So the writers of a process take turns, and try again for as long as others win.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from writ_bus.backoff import backoff
from writ_bus.errors import Conflict

PATIENCE = 30.0
"""Seconds. Each lost race is another's stored event, so only a subject that is never as it was read takes longer."""
T = TypeVar("T")


class SharedSubjects:
    """The turns of this process's writers."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def append(self, subject: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `attempt`, which reads the last sequence and appends after it. Raises Conflict after
        `PATIENCE`, and the journal's other errors at once.
        """
        turn = self._turns.setdefault(subject, asyncio.Lock())
        async with turn:
            give_up = asyncio.get_running_loop().time() + PATIENCE
            for pause in backoff(first=0.005, most=0.2):
                try:
                    return await attempt()
                except Conflict as conflict:
                    if asyncio.get_running_loop().time() > give_up:
                        raise Conflict(f"other writers were first on {subject} for {PATIENCE:g} s") from conflict
                await asyncio.sleep(pause)
        raise AssertionError("nothing else ends this")
