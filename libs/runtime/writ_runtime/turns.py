"""Turns by key: few users of one key at once, the others of that key wait, and no key waits for another."""

from asyncio import Semaphore
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from writ_contracts.errors import Full


class Turns:
    """`at_once`: how many users of one key may go on at the same time. `waiting`: how many more may wait."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._at_once, self._most = at_once, at_once + waiting
        self._turns: dict[str, tuple[Semaphore, int]] = {}

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Wait for a turn. Raises Full (`busy`) where too many wait already."""
        turns, users = self._turns.get(key) or (Semaphore(self._at_once), 0)
        if users >= self._most:
            raise Full(f"{users} reads of {key} already run or wait", code="busy")
        self._turns[key] = (turns, users + 1)
        try:
            async with turns:
                yield
        finally:
            self._leave(key)

    def _leave(self, key: str) -> None:
        turns, users = self._turns[key]
        if users > 1:
            self._turns[key] = (turns, users - 1)
        else:
            del self._turns[key]
