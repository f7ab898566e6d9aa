"""Operations waiting for a slow host give their slot back, so one hanging host does not hold them all.

Most of the time an agent waits. An operation longer than `SLOT_SECONDS` goes on without a slot. From then on its target
is slow: it gets only a few operations at a time, and they hardly hold a slot, until one of them ends sooner.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from writ_bus import tasks
from writ_runtime.logs import Log

SLOT_SECONDS, SLOW_SECONDS = 0.25, 0.02
"""For how long an operation holds a slot: of any target, and of one that was slow the last time."""
SHARE = 2
"""A slow target has one of so many slots."""
MOST_SLOW = 10_000
_log = Log("writ.agent")


class DetachedOperations:
    """`most`: how many may go on without a slot; with 0 each keeps its slot. `slots`: those of the agent."""

    def __init__(self, most: int, slots: int) -> None:
        self._most = most
        self._each = max(1, slots // SHARE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._of: Counter[str] = Counter()
        self._slow: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def is_slow(self, target: str) -> bool:
        """Return true if too many operations wait for this target for another one to begin."""
        return self.of(target) >= self._each

    def of(self, target: str) -> int:
        """Return how many operations of this target go on without a slot."""
        return self._of[target]

    async def run(self, target: str, work: Coroutine[Any, Any, None]) -> None:
        """Run the work: to its end, or for as long as it holds a slot if it may go on without one."""
        if not self._most:
            await work
            return
        task = tasks.start(work, "operation")
        try:
            await asyncio.wait({task}, timeout=SLOW_SECONDS if target in self._slow else SLOT_SECONDS)
            if not task.done() and len(self._tasks) < self._most:
                self._detach(target, task)
                return
            await task
            self._slow.pop(target, None)
        except asyncio.CancelledError:
            task.cancel()
            raise

    async def finish(self) -> None:
        """Wait until all of them have ended."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _detach(self, target: str, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        self._slow[target] = None
        if len(self._slow) > MOST_SLOW:
            del self._slow[next(iter(self._slow))]
        self._of[target] += 1
        task.add_done_callback(lambda ended: self._done(target, ended))

    def _done(self, target: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._of[target] -= 1
        if not self._of[target]:
            del self._of[target]
        if not task.cancelled() and (error := task.exception()):
            _log.error("agent.operation_broke", target=target, exception=error)
