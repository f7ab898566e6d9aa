"""Turns at one target: few reads of it at once, the others wait, and no target waits for another."""

from asyncio import Semaphore
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from writ_contracts.errors import Full


class TargetTurns:
    """`at_once`: how many may read one target at the same time. `waiting`: how many more may wait for their turn."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._at_once, self._most = at_once, at_once + waiting
        self._turns: dict[str, tuple[Semaphore, int]] = {}

    @asynccontextmanager
    async def turn(self, target: str) -> AsyncIterator[None]:
        """Wait for a turn. Raises Full (`busy`) where too many wait already."""
        turns, users = self._turns.get(target) or (Semaphore(self._at_once), 0)
        if users >= self._most:
            raise Full(f"{users} reads of {target} already run or wait", code="busy")
        self._turns[target] = (turns, users + 1)
        try:
            async with turns:
                yield
        finally:
            self._leave(target)

    def _leave(self, target: str) -> None:
        turns, users = self._turns[target]
        if users > 1:
            self._turns[target] = (turns, users - 1)
        else:
            del self._turns[target]
