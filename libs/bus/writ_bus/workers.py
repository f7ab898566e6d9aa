"""Run handlers concurrently with a bound. Messages above it wait in line; each sender has a line of its own.

nats-py runs the callbacks of one subscription one after another, so handlers get tasks of their own here.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from functools import partial
from math import ceil

from writ_bus import tasks

_logger = logging.getLogger("writ.bus")

BACKLOG = 64
"""So many times its concurrency may wait at an endpoint or a subscription."""
Job = Callable[[], Coroutine[None, None, None]]
MOST_RUNNING, MOST_WAITING = 3 / 4, 1 / 4
"""Shares of all slots, and of all places in line, that one sender may have."""


class Workers:
    """Run at most `limit` jobs at once, and let at most `backlog` wait.

    Jobs of one sender start in the order in which they came; senders take turns. A sender has at most three quarters of
    the slots and a quarter of the line, so a flooding one waits for itself. Jobs without a sender have no share.
    """

    def __init__(self, limit: int, backlog: int, on_free: Callable[[], None] | None = None) -> None:
        self._limit = limit
        self._most_running = ceil(limit * MOST_RUNNING)
        self._backlog = backlog
        self._on_free = on_free
        self._lines: OrderedDict[str, deque[Job]] = OrderedDict()
        self._waiting = 0
        self._running: set[asyncio.Task[None]] = set()
        self._running_of: dict[str, int] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """Return the number of running jobs."""
        return len(self._running)

    def submit(self, job: Job) -> bool:
        """Run the job now or later. Return False if the line is full."""
        return self.start(job) or self.queue(job)

    def start(self, job: Job, sender: str = "") -> bool:
        """Run the job now. Return False if there is no slot for it."""
        if len(self._running) >= self._limit or not self._may_run(sender):
            return False
        self._start(job, sender)
        return True

    def queue(self, job: Job, sender: str = "") -> bool:
        """Run the job once there is a slot. Return False if the line, or this sender's part of it, is full."""
        line = self._lines.get(sender, ())
        if self._waiting >= self._backlog or (sender and len(line) >= ceil(self._backlog * MOST_WAITING)):
            return False
        self._lines.setdefault(sender, deque()).append(job)
        self._waiting += 1
        return True

    def _may_run(self, sender: str) -> bool:
        return not sender or self._running_of.get(sender, 0) < self._most_running

    def _start(self, job: Job, sender: str) -> None:
        task = tasks.start(job(), "handler")
        self._running.add(task)
        if sender:
            self._running_of[sender] = self._running_of.get(sender, 0) + 1
        self._idle.clear()
        task.add_done_callback(partial(self._done, sender))

    def _start_next(self) -> None:
        sender = next((one for one in self._lines if self._may_run(one)), None)
        if sender is None:
            return
        line = self._lines[sender]
        self._start(line.popleft(), sender)
        self._waiting -= 1
        self._lines.move_to_end(sender)
        if not line:
            del self._lines[sender]

    def _done(self, sender: str, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if sender:
            self._leave(sender)
        if not task.cancelled() and (error := task.exception()):
            _logger.error("handler.raised", exc_info=error)
        if self._lines:
            self._start_next()
        if not self._running:
            self._idle.set()
        if self._on_free:
            self._on_free()

    def _leave(self, sender: str) -> None:
        left = self._running_of[sender] - 1
        if left:
            self._running_of[sender] = left
        else:
            del self._running_of[sender]

    async def finish(self) -> None:
        """Wait until all jobs taken so far have ended."""
        await self._idle.wait()

    async def cancel(self) -> None:
        """End all jobs now."""
        self._lines.clear()
        self._waiting = 0
        tasks = [task for task in self._running if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
