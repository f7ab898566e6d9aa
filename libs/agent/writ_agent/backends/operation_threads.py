"""The threads in which handlers of operations block, as by `asyncio.to_thread`. Nothing can end a thread.

So each operation counts the threads of its own that still run. Threads that never end leave enough for all others.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from writ_runtime.health import Attention

P = ParamSpec("P")
T = TypeVar("T")
MOST_THREADS, OWN_THREADS = 512, 64
"""Threads of operations, and those beside them for the agent's own calls."""


class TooManyThreads(RuntimeError):
    """Raised for a thread of an operation while as many run as may: most of them do not end."""


class ThreadCount:
    """The running threads of one operation."""

    def __init__(self) -> None:
        self.over = False
        self._running: set[Future[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def add(self, running: Future[Any]) -> None:
        """Count a call in a thread until it ends."""
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def ended(self, seconds: float) -> bool:
        """Wait at most so many seconds for the end of all of them. Return whether none runs any more."""
        if running := [asyncio.wrap_future(one) for one in tuple(self._running)]:
            for one in running:  # asyncio would log its error as lost
                one.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            await asyncio.wait(running, timeout=seconds)
        return not self._running


_count: ContextVar[ThreadCount | None] = ContextVar("thread_count", default=None)


def count_threads(count: ThreadCount) -> None:
    """Count the threads of the current task, and of the tasks that it starts from now on."""
    _count.set(count)


async def uncounted(work: Awaitable[T]) -> T:
    """Return the result of work whose threads change nothing, such as the resolution of a name. Start it as a task: all
    later threads of the task are no operation's.
    """
    _count.set(None)
    return await work


class OperationThreads(ThreadPoolExecutor):
    """The default executor of an agent's event loop."""

    def __init__(self) -> None:
        super().__init__(MOST_THREADS + OWN_THREADS, thread_name_prefix="agent")
        self._counts: set[ThreadCount] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call the function in a thread. Raises TooManyThreads."""
        count = _count.get()
        if count is None:
            return super().submit(fn, *args, **kwargs)
        self._counts = {one for one in self._counts if one}
        if sum(map(len, self._counts)) >= MOST_THREADS:
            raise TooManyThreads(f"{MOST_THREADS} threads of operations run, and no more are started")
        running = super().submit(fn, *args, **kwargs)
        count.add(running)
        self._counts.add(count)
        return running

    async def check(self) -> str | None:
        """Report for `/readyz` the threads of ended operations, which only a restart of the agent ends."""
        left = sum(len(one) for one in self._counts if one.over)
        return Attention(f"{left} threads of ended operations still run; a restart ends them") if left else None
