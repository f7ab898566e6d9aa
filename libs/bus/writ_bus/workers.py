"""Run handlers concurrently with a bound. Messages above it wait in line; each sender has a line of its own.

nats-py runs the callbacks of one subscription one after another, so handlers get tasks of their own here.
"""

import asyncio
import logging
from collections import Counter, OrderedDict, deque
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
MOST_RUNNING_BYTES, MOST_WAITING_BYTES = 8 << 20, 64 << 20
"""Bytes of messages of one sender that may run at an endpoint, and that may wait at all endpoints of a service. With a
bound for their number alone, one sender had 192 messages of 1 MB decoded at once and 4,096 more in memory.
"""


class WaitingBytes:
    """The bytes of the waiting messages of each sender."""

    def __init__(self) -> None:
        self._of = Counter[str]()

    def take(self, sender: str, size: int) -> bool:
        """Count a message, or return False if it is too much for this sender. Without a sender there is no bound."""
        if sender and self._of[sender] + size > MOST_WAITING_BYTES:
            return False
        self._of[sender] += size
        return True

    def give_back(self, sender: str, size: int) -> None:
        """Count a message no longer."""
        self._of[sender] -= size
        if not self._of[sender]:
            del self._of[sender]


class Workers:
    """Run at most `limit` jobs at once, and let at most `backlog` wait.

    Jobs of one sender start in the order in which they came; senders take turns. A sender has at most three quarters of
    the slots and a quarter of the line, and bounds for the bytes of both, so a flooding one waits for itself. Jobs
    without a sender have no share.
    """

    def __init__(
        self,
        limit: int,
        backlog: int,
        on_free: Callable[[], None] | None = None,
        waiting_bytes: WaitingBytes | None = None,
    ) -> None:
        """`waiting_bytes`: counted together with those of other workers."""
        self._limit = limit
        self._most_running = ceil(limit * MOST_RUNNING)
        self._backlog = backlog
        self._on_free = on_free
        self._lines: OrderedDict[str, deque[tuple[Job, int]]] = OrderedDict()
        self._waiting = 0
        self._waiting_bytes = waiting_bytes or WaitingBytes()
        self._running: set[asyncio.Task[None]] = set()
        self._running_of = Counter[str]()
        self._running_bytes = Counter[str]()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """Return the number of running jobs."""
        return len(self._running)

    def submit(self, job: Job) -> bool:
        """Run the job now or later. Return False if the line is full."""
        return self.start(job) or self.queue(job)

    def start(self, job: Job, sender: str = "", size: int = 0) -> bool:
        """Run the job now. Return False if there is no slot for it. `size`: the bytes that it holds."""
        if sender in self._lines or not self._may_run(sender, size):
            return False
        self._start(job, sender, size)
        return True

    def queue(self, job: Job, sender: str = "", size: int = 0) -> bool:
        """Run the job once there is a slot. Return False if the line, or this sender's part of it, is full."""
        line = self._lines.get(sender, ())
        if self._waiting >= self._backlog or (sender and len(line) >= ceil(self._backlog * MOST_WAITING)):
            return False
        if not self._waiting_bytes.take(sender, size):
            return False
        self._lines.setdefault(sender, deque()).append((job, size))
        self._waiting += 1
        return True

    def _may_run(self, sender: str, size: int) -> bool:
        if len(self._running) >= self._limit:
            return False
        running, together = self._running_of[sender], self._running_bytes[sender] + size
        return not (sender and running) or (running < self._most_running and together <= MOST_RUNNING_BYTES)

    def _start(self, job: Job, sender: str, size: int) -> None:
        task = tasks.start(job(), "handler")
        self._running.add(task)
        self._running_of[sender] += 1
        self._running_bytes[sender] += size
        self._idle.clear()
        task.add_done_callback(partial(self._done, sender, size))

    def _start_next(self) -> bool:
        """Start the next job that may run. Return False if there is none."""
        if len(self._running) >= self._limit:
            return False  # at once: thousands of senders may wait, and this is called at the end of each job
        sender = next((one for one, line in self._lines.items() if self._may_run(one, line[0][1])), None)
        if sender is None:
            return False
        line = self._lines[sender]
        job, size = line.popleft()
        self._waiting_bytes.give_back(sender, size)
        self._start(job, sender, size)
        self._waiting -= 1
        self._lines.move_to_end(sender)
        if not line:
            del self._lines[sender]
        return True

    def _done(self, sender: str, size: int, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._leave(sender, size)
        if not task.cancelled() and (error := task.exception()):
            _logger.error("handler.raised", exc_info=error)
        while self._lines and self._start_next():  # a large job makes room for several
            pass
        if not self._running:
            self._idle.set()
        if self._on_free:
            self._on_free()

    def _leave(self, sender: str, size: int) -> None:
        self._running_of[sender] -= 1
        self._running_bytes[sender] -= size
        if not self._running_of[sender]:
            del self._running_of[sender], self._running_bytes[sender]

    async def finish(self) -> None:
        """Wait until all jobs taken so far have ended."""
        await self._idle.wait()

    async def cancel(self) -> None:
        """End all jobs now."""
        for sender, line in self._lines.items():
            self._waiting_bytes.give_back(sender, sum(size for _, size in line))
        self._lines.clear()
        self._waiting = 0
        tasks = [task for task in self._running if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
