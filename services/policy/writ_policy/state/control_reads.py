"""Reads of the last control event, shared by starts that are decided at the same time.

A start needs a read that began after its claim arrived, so that a stop stored before that counts. A caller therefore
joins the next read, never the current one. Only one read runs at a time, so their number does not grow with the number
of starts.
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
        """Return a future for a read that begins after this call. It raises errors of the bus.

        Await it shielded, since other callers share it.
        """
        if self._next is None:
            self._next = tasks.start(self._read(self._under_way), "control read")
            self._next.add_done_callback(_retrieve)
        return self._next

    async def _read(self, before: asyncio.Task[int] | None) -> int:
        if before is not None and not before.done():
            await asyncio.wait({before})
        self._under_way, self._next = self._next, None
        last = await self._journal.last(subjects.CONTROL)
        return last.sequence if last else 0


def _retrieve(read: asyncio.Task[int]) -> None:
    """Retrieve the error of a read whose callers have all given up, so that asyncio does not log it."""
    if not read.cancelled():
        read.exception()
