"""Notices of a service for the journal: only executors may write them there.

They are sent in order, each until it is stored. Excess ones are dropped, since the log has them as well.
"""

import asyncio

from writ_bus.backoff import backoff
from writ_bus.port import Bus
from writ_contracts.errors import Unreachable, WritError
from writ_contracts.notices import Notice, NoticeReply
from writ_contracts.wire import decode, encode
from writ_runtime.logs import Log

MOST_WAITING = 200
ANSWER = 5.0

_log = Log("writ.notices")


class NoticeSender:
    """Sends notices. `queue` returns at once; `run` sends, until cancelled."""

    def __init__(self, subject: str) -> None:
        """`subject`: the service's own, on which no other may send."""
        self._subject = subject
        self._waiting: asyncio.Queue[Notice] = asyncio.Queue(MOST_WAITING)

    def queue(self, notice: Notice) -> None:
        """Queue a notice until an executor records it."""
        try:
            self._waiting.put_nowait(notice)
        except asyncio.QueueFull:
            _log.warning("notice.dropped", kind=notice.kind, detail=notice.detail)

    async def record(self, bus: Bus, notice: Notice) -> None:
        """Send a notice and wait until it is stored. Raises Unreachable if it is not, or may not be."""
        try:
            failure = decode((await bus.request(self._subject, encode(notice), timeout=ANSWER)).data, NoticeReply).error
        except WritError as error:
            raise Unreachable(f"it cannot be recorded now: {error}") from error
        if failure is not None:
            raise Unreachable(f"it cannot be recorded now: {failure.message}")

    async def run(self, bus: Bus) -> None:
        """Send queued and new notices until cancelled."""
        while True:
            notice = await self._waiting.get()
            for pause in backoff(first=0.2, most=5.0):
                if await self._sent(bus, notice):
                    break
                await asyncio.sleep(pause)

    async def _sent(self, bus: Bus, notice: Notice) -> bool:
        """Return whether the notice is stored, or never will be."""
        try:
            message = await bus.request(self._subject, encode(notice), timeout=ANSWER)
            failure = decode(message.data, NoticeReply).error
        except Unreachable:
            return False
        except WritError as error:
            _log.warning("notice.not_sent", kind=notice.kind, error=str(error))
            return not error.retry
        if failure is not None:
            _log.warning("notice.not_stored", kind=notice.kind, error=failure.message)
        return failure is None or not failure.retry
