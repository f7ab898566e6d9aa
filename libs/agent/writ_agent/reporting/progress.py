"""Progress relay: the latest message of each half second, bounded in size."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from writ_bus import tasks
from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.agents import Progress
from writ_contracts.errors import WritError
from writ_contracts.journal import Dispatched
from writ_contracts.wire import encode

INTERVAL = 0.5
LATE_SECONDS = 3.0
"""A read of the state before an operation that takes longer is reported to its requester."""
LONGEST, LONGEST_NAME = 500, 200


class ProgressRelay:
    """The progress of one operation. Call it with each message; `close` it at the end."""

    def __init__(self, bus: Bus, pool: str, operation_id: str, principal: str) -> None:
        self._bus = bus
        self._subject = subjects.progress(pool)
        self._operation_id = operation_id
        self._principal = principal
        self._latest: Progress | None = None
        self._sender: asyncio.Task[None] | None = None

    def __call__(self, message: str) -> None:
        """Accept a message; never blocks."""
        self._accept(message, "")

    def report_silence(self, host: str, message: str) -> None:
        """Accept a message about a host that does not reply, or that replies again; never blocks."""
        self._accept(message, host)

    def _accept(self, message: str, silent: str) -> None:
        self._latest = Progress(
            operation_id=self._operation_id,
            principal=self._principal,
            message=message[:LONGEST],
            silent=silent[:LONGEST_NAME],
        )
        if self._sender is None:
            self._sender = tasks.spawn(self._send(), "progress")

    def close(self) -> None:
        """Drop unsent messages: they are useless after the end."""
        if self._sender is not None:
            self._sender.cancel()

    async def _send(self) -> None:
        while self._latest is not None:
            progress, self._latest = self._latest, None
            await self._publish(progress)
            await asyncio.sleep(INTERVAL)
        self._sender = None

    async def _publish(self, progress: Progress) -> None:
        try:
            await self._bus.publish(self._subject, encode(progress))
        except WritError:
            return  # progress is a courtesy


@contextmanager
def late_reply(bus: Bus, pool: str, work: Dispatched) -> Iterator[None]:
    """Report a target that is slow to reply within the block, while its state before the operation is read."""
    relay = ProgressRelay(bus, pool, work.operation_id, work.principal)
    message = f"{work.target} has not replied for more than {LATE_SECONDS:g} s to a read of its state; nothing has run"
    late = asyncio.get_running_loop().call_later(LATE_SECONDS, relay.report_silence, work.target, message)
    try:
        yield
    finally:
        late.cancel()
        relay.close()
