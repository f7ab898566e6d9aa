"""Notices to the requester that a host does not reply while its operation waits, and how the operation then ends."""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from writ_agent.backends.port import Progress, ReportsSilence, Task
from writ_agent_ssh.host_sessions.session import ANSWER_SECONDS, HostSession
from writ_bus import tasks
from writ_contracts.errors import WritError

PAUSE = 2.0
"""Seconds between two looks whether the host replies, and before the first one."""
LATE_SECONDS = 3.0
"""A connection that takes longer is reported."""
STEPS = (3, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Seconds of silence after which the notice is renewed."""


class SilenceNotices:
    """The notices of one operation."""

    def __init__(self, task: Task, progress: object, until: float) -> None:
        """`progress`: of the operation; one that does not report silence gets no notice. `until`: the time of its
        timeout, by the loop's clock.
        """
        self._task = task
        self._reports = progress if isinstance(progress, ReportsSilence) else None
        self._until = until
        self._watching: asyncio.Task[None] | None = None

    @contextmanager
    def connecting(self, progress: Progress, is_queued: Callable[[], bool]) -> Iterator[None]:
        """Report a connection that is slow to come about within the block. `is_queued`: whether it waits its turn."""
        late = tasks.spawn(self._connect(progress, is_queued), "ssh connect notices")
        try:
            yield
        finally:
            late.cancel()

    @contextmanager
    def settling(self) -> Iterator[None]:
        """Report a host that is not reached again after its connection broke."""
        message = f"the connection to {self._task.target.id} broke, and it has not replied since. {self._end()}"
        late = asyncio.get_running_loop().call_later(LATE_SECONDS, self._report, message)
        try:
            yield
        finally:
            late.cancel()

    @contextmanager
    def running(self, session: HostSession) -> Iterator[None]:
        """Report a host that stays silent within the block, and that it replies again."""
        begin = asyncio.get_running_loop().call_later(PAUSE, self._begin, session)
        try:
            yield
        finally:
            begin.cancel()
            if self._watching is not None:
                self._watching.cancel()

    async def _connect(self, progress: Progress, is_queued: Callable[[], bool]) -> None:
        target = self._task.target.id
        await asyncio.sleep(LATE_SECONDS)
        queued = is_queued()
        if queued:
            progress(f"{target} waits while others connect to the same address. Nothing has run")
        while queued:  # now, or before the latest pause: the host has had less time than it to reply
            queued = is_queued()
            await asyncio.sleep(LATE_SECONDS)
            queued = queued or is_queued()
        self._report(
            f"{target} has not replied for more than {LATE_SECONDS:g} s while the agent connects."
            " Nothing has run; the operation fails if the connection does"
        )

    def _begin(self, session: HostSession) -> None:
        if self._reports is not None:
            self._watching = tasks.spawn(self._watch(session), "ssh silence")

    async def _watch(self, session: HostSession) -> None:
        try:
            while True:
                await self._silence(session)
                await asyncio.sleep(PAUSE)
        except WritError:
            return  # the connection ended: the operation itself learns of it

    async def _silence(self, session: HostSession) -> None:
        """Ping the host, and report its silence while it lasts."""
        loop = asyncio.get_running_loop()
        began, reported = loop.time(), 0
        while await session.is_silent():
            step = max((one for one in STEPS if one <= loop.time() - began + 0.1), default=round(ANSWER_SECONDS))
            if step != reported:
                reported = step
                self._report(f"{self._task.target.id} has not replied for more than {_span(step)}. {self._end()}")
        if reported and self._reports is not None:
            self._reports.report_silence("", f"{self._task.target.id} replies again")

    def _end(self) -> str:
        left = _span(max(math.ceil(self._until - asyncio.get_running_loop().time()), 0))
        outcome = "the operation fails" if self._task.operation.read_only else "its outcome is unknown"
        return f"If it stays silent, {outcome} at the timeout in {left}"

    def _report(self, message: str) -> None:
        if self._reports is not None:
            self._reports.report_silence(self._task.target.id, message)


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
