"""Reads of the last control event, shared by the starts that are decided at the same time.

A start needs a read that began after its claim came: then a stop stored before that counts. So a caller joins the next
read, never the one under way. There is one at a time, so the number of reads does not grow with the number of starts.
"""

import asyncio

from writ_bus import tasks
from writ_bus.port import Journal
from writ_contracts import subjects


class ControlReads:
    """Reads the last sequence of the control events."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._under_way: asyncio.Task[int] | None = None
        self._next: asyncio.Task[int] | None = None

    def begin(self) -> asyncio.Future[int]:
        """Return the result of a read that begins after this call: await it shielded, since others share it. It raises
        errors of the bus.
        """
        if self._next is None:
            self._next = tasks.start(self._read(self._under_way), "control read")
            self._next.add_done_callback(_retrieve)
        return self._next

    async def _read(self, before: asyncio.Task[int] | None) -> int:
        if before is not None:
            await asyncio.wait({before})
        self._under_way, self._next = self._next, None
        last = await self._journal.last(subjects.CONTROL)
        return last.sequence if last else 0


def _retrieve(read: asyncio.Task[int]) -> None:
    """Take the error of a read whose callers all gave up before."""
    if not read.cancelled():
        read.exception()
