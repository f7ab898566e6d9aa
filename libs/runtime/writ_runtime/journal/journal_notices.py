"""Notices of a service for the journal: only executors may write them there.

They are sent in order, each until it is stored. Those that become control events, by which others decide, have a queue
of their own: a flood of the others, which a requester can cause, neither delays nor drops them.
"""

import asyncio
from collections.abc import Callable
from typing import get_args

from writ_bus.backoff import backoff
from writ_bus.port import Bus
from writ_contracts.errors import Unreachable, WritError
from writ_contracts.notices import OF_CONTROL, Notice, NoticeKind, NoticeReply
from writ_contracts.requests import Failure
from writ_contracts.wire import decode, encode
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics

MOST_WAITING = 200
MOST_OF_CONTROL = 5_000
ANSWER = 5.0

_log = Log("writ.notices")


class NoticeSender:
    """Sends notices. `queue` returns at once; `run` sends, until cancelled."""

    def __init__(self, subject: str, count: Callable[[str], None]) -> None:
        """`subject`: the service's own, on which no other may send. `count` gets the kind of each dropped notice."""
        self._subject = subject
        self._count = count
        self._of_control: asyncio.Queue[Notice] = asyncio.Queue(MOST_OF_CONTROL)
        self._others: asyncio.Queue[Notice] = asyncio.Queue(MOST_WAITING)
        self._dropped = 0
        """Notices dropped since all of them were sent."""

    def queue(self, notice: Notice) -> None:
        """Queue a notice until an executor records it. If too many wait, the oldest control event or the newest other
        notice is dropped: a newer version of a file takes the place of an older one.
        """
        if notice.kind not in OF_CONTROL:
            if self._others.full():
                self._drop(notice)
            else:
                self._others.put_nowait(notice)
            return
        if self._of_control.full():
            self._drop(self._of_control.get_nowait())
        self._of_control.put_nowait(notice)

    def _drop(self, notice: Notice) -> None:
        self._count(notice.kind)
        self._dropped += 1
        if self._dropped == 1:  # a flood of notices must not become one of the log
            effect = "it is not recorded; the metric writ_notices_dropped_total counts the next ones"
            _log.error("notice.dropped", kind=notice.kind, detail=notice.detail, effect=effect)

    async def record(self, bus: Bus, notice: Notice) -> None:
        """Send a notice and wait until it is stored. Raises Unreachable if it is not, or may not be."""
        try:
            failure = await self._send(bus, notice)
        except WritError as error:
            raise Unreachable(f"it cannot be recorded now: {error}") from error
        if failure is not None:
            raise Unreachable(f"it cannot be recorded now: {failure.message}")

    async def _send(self, bus: Bus, notice: Notice) -> Failure | None:
        return decode((await bus.request(self._subject, encode(notice), timeout=ANSWER)).data, NoticeReply).error

    async def run(self, bus: Bus) -> None:
        """Send queued and new notices until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_all(bus, self._of_control))
            group.create_task(self._send_all(bus, self._others))

    async def _send_all(self, bus: Bus, waiting: asyncio.Queue[Notice]) -> None:
        while True:
            notice = await waiting.get()
            try:
                for pause in backoff(first=0.2, most=5.0):
                    if await self._sent(bus, notice):
                        break
                    await asyncio.sleep(pause)
            except BaseException:  # the next `run` sends it, over a new connection
                self.queue(notice)
                raise
            if self._dropped and self._of_control.empty() and self._others.empty():
                _log.warning("notice.all_sent", dropped=self._dropped)
                self._dropped = 0

    async def _sent(self, bus: Bus, notice: Notice) -> bool:
        """Return whether the notice is stored, or never will be."""
        try:
            failure = await self._send(bus, notice)
        except Unreachable:
            return False
        except WritError as error:
            return self._is_over(notice, str(error), retry=error.retry)
        return failure is None or self._is_over(notice, failure.message, retry=failure.retry)

    def _is_over(self, notice: Notice, error: str, *, retry: bool) -> bool:
        _log.warning("notice.not_stored", kind=notice.kind, error=error)
        if not retry:
            self._count(notice.kind)
        return not retry


def dropped_notices(measured: Metrics) -> Callable[[str], None]:
    """Declare the counter of dropped notices, in each service that sends some. Return what counts one, by its kind."""
    text = "Notices for the journal that were dropped, because too many waited or executors refused them, by kind."
    counter = measured.counter("writ_notices_dropped_total", text, {"kind": get_args(NoticeKind)})
    return lambda kind: counter.add(kind=kind)
