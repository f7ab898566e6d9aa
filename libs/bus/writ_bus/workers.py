"""Runs handlers concurrently with a bound; what comes above it waits in line, and the line has an end.

nats-py runs the callbacks of one subscription one after another, so handlers get tasks of their own here.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine

_logger = logging.getLogger("writ.bus")

Job = Callable[[], Coroutine[None, None, None]]


class Workers:
    """At most `limit` jobs run, at most `backlog` wait; jobs start in the order in which they came."""

    def __init__(self, limit: int, backlog: int, on_free: Callable[[], None] | None = None) -> None:
        self._limit = limit
        self._backlog = backlog
        self._on_free = on_free
        self._waiting: deque[Job] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """How many run now."""
        return len(self._running)

    def submit(self, job: Job) -> bool:
        """Run it now or later; False if the line is full."""
        if len(self._running) < self._limit:
            self._start(job)
        elif len(self._waiting) < self._backlog:
            self._waiting.append(job)
        else:
            return False
        return True

    def _start(self, job: Job) -> None:
        task = asyncio.get_running_loop().create_task(job())
        self._running.add(task)
        self._idle.clear()
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _logger.error("handler.raised", exc_info=error)
        if self._waiting:
            self._start(self._waiting.popleft())
        elif not self._running:
            self._idle.set()
        if self._on_free:
            self._on_free()

    async def finish(self) -> None:
        """Let everything taken so far come to its end."""
        await self._idle.wait()

    async def cancel(self) -> None:
        """End all of them now."""
        self._waiting.clear()
        tasks = [task for task in self._running if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
