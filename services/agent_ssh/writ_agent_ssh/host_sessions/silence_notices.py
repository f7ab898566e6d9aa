"""Notices to the requester that a host does not reply while the agent connects, or after its connection broke."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from writ_agent.backends import silence_watch
from writ_agent.backends.port import Progress
from writ_agent.backends.silence_watch import TargetPings
from writ_bus import tasks


class SilenceNotices(TargetPings):
    """The notices of one operation."""

    @contextmanager
    def connecting(self, progress: Progress, is_queued: Callable[[], bool]) -> Iterator[None]:
        """Report a connection that is slow to come about within the block. `is_queued`: whether it waits its turn."""
        late = asyncio.get_running_loop().time() + silence_watch.LATE_SECONDS
        notices = tasks.spawn(self._connect(progress, is_queued), "ssh connect notices")
        try:
            yield
        finally:
            notices.cancel()
        self.report_end_of(late, f"{self.target} replies")

    def settling(self) -> AbstractContextManager[Callable[[], None]]:
        """Report a host that is not reached again after its connection broke. Call what is returned once it replies."""
        message = f"the connection to {self.target} broke, and it has not replied since. {self.ending}"
        return self.late(message, f"{self.target} replies again")

    async def _connect(self, progress: Progress, is_queued: Callable[[], bool]) -> None:
        await asyncio.sleep(silence_watch.LATE_SECONDS)
        queued = is_queued()
        if queued:
            progress(f"waits for its turn: others connect to the address of {self.target}. Nothing has run")
        while queued:  # now, or before the latest pause: the host has had less time than it to reply
            queued = is_queued()
            await asyncio.sleep(silence_watch.LATE_SECONDS)
            queued = queued or is_queued()
        self.report(self.unconnected)
