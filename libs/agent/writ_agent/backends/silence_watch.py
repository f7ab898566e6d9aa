"""Notices to the requester that what an operation runs on does not reply, and how the operation then ends."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from writ_agent.backends.port import ReportsSilence, Task
from writ_bus import tasks
from writ_contracts.errors import WritError

LATE_SECONDS = 3.0
"""A step whose reply takes longer is reported."""
PAUSE = 2.0
"""Seconds between two pings, and before the first one."""
STEPS = (3, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Seconds of silence after which the notice is renewed."""
IsSilent = Callable[[], Coroutine[Any, Any, bool]]
"""Ping, and return whether there was no reply within some seconds. Raises WritError for a connection that ended."""


class SharedPing:
    """The pings of one engine or API for all operations there: one at a time, and one for each PAUSE."""

    def __init__(self, ping: IsSilent) -> None:
        """`ping` ends by itself."""
        self._ping = ping
        self._running: asyncio.Task[bool] | None = None
        self._replied = float("-inf")

    async def is_silent(self, within: float | None = None) -> bool:
        """Return whether there is no reply to a ping within so many seconds. Raises what the ping raises."""
        if asyncio.get_running_loop().time() - self._replied < PAUSE:
            return False
        running = self._running = self._running or self._begin()
        ended, _ = await asyncio.wait({running}, timeout=within)
        return not ended or running.result()

    def _begin(self) -> asyncio.Task[bool]:
        running = tasks.start(self._ping(), "ping")
        running.add_done_callback(self._note_end)
        return running

    def _note_end(self, ended: asyncio.Task[bool]) -> None:
        """Note the verdict. The operations that waited for it may have ended, and nobody else takes its error."""
        self._running = None
        if not ended.cancelled() and ended.exception() is None and not ended.result():
            self._replied = asyncio.get_running_loop().time()


class TargetPings:
    """The notices of one operation."""

    def __init__(self, task: Task, progress: object) -> None:
        """`progress`: of the operation; one that does not report silence gets no notice."""
        self.target = task.target.id
        self._task = task
        self._reports = progress if isinstance(progress, ReportsSilence) else None
        self._watching: asyncio.Task[None] | None = None
        self._reported = 0
        """The seconds of the silence that was reported last; 0 without one. Another connection ends it as well."""

    @contextmanager
    def late(self, message: str, end: str) -> Iterator[Callable[[], None]]:
        """Report the message if the block takes long, and then its end unless it fails, which ends the operation. Call
        what is returned for a reply before the end of the block.
        """
        late, replied = asyncio.get_running_loop().call_later(LATE_SECONDS, self.report, message), False

        def reply() -> None:
            nonlocal replied
            if not replied:
                replied = True
                late.cancel()
                self.report_end_of(late.when(), end)

        try:
            yield reply
        finally:
            late.cancel()
        reply()

    @property
    def unconnected(self) -> str:
        """Return the report of a connection that is slow to come about."""
        return (
            f"{self.target} has not replied for more than {LATE_SECONDS:g} s while the agent connects."
            " Nothing has run; the operation fails if the connection does"
        )

    @contextmanager
    def running(self, is_silent: IsSilent) -> Iterator[None]:
        """Report a silence within the block, and its end."""
        begin = asyncio.get_running_loop().call_later(PAUSE, self._begin, is_silent)
        try:
            yield
        finally:
            begin.cancel()
            if self._watching is not None:
                self._watching.cancel()

    def report(self, message: str) -> None:
        """Report that the target does not reply."""
        if self._reports is not None:
            self._reports.report_silence(self.target, message)

    def report_end_of(self, at: float, message: str) -> None:
        """Report that the target keeps the operation no longer waiting, where a report that it does was due at that
        time of the loop's clock.
        """
        if self._reports is not None and asyncio.get_running_loop().time() >= at:
            self._reports.report_silence("", message)

    @property
    def ending(self) -> str:
        """Return how the operation ends if the target stays silent: true however long it is shown."""
        outcome = "the operation fails" if self._task.operation.read_only else "its outcome is unknown"
        return f"If it stays silent, {outcome} at the timeout, {_span(round(self._task.timeout))} after the start"

    def _begin(self, is_silent: IsSilent) -> None:
        if self._reports is not None:
            self._watching = tasks.spawn(self._watch(is_silent), "silence")

    async def _watch(self, is_silent: IsSilent) -> None:
        try:
            while True:
                await self._silence(is_silent)
                await asyncio.sleep(PAUSE)
        except WritError:
            return  # the connection ended: the operation itself learns of it

    async def _silence(self, is_silent: IsSilent) -> None:
        """Ping, and report the silence while it lasts."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while await is_silent():
            step = max((one for one in STEPS if one <= loop.time() - began + 0.1), default=0)
            if step != self._reported:
                self._reported = step
                self.report(f"{self.target} has not replied for more than {_span(step)}. {self.ending}")
        if self._reported:
            self._reported = 0
            self.report_end_of(began, f"{self.target} replies again")


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
