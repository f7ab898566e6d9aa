"""A load generator with little processor time: it keeps operations in flight and reads only their ends.

Replies go to a subject without readers. Any end but success, a refusal, or a minute without an end stops it.
"""

import asyncio
from typing import Any

from bench.end_to_end import SUCCEEDED
from writ_bus.nats.bus import NatsBus
from writ_bus.port import Bus
from writ_contracts import subjects

BODY = b'{"target":"web-1"}'
PATIENCE = 60.0


class Generator:
    """Runs `test_noop` of one principal, on one connection."""

    def __init__(self, bus: Bus, principal: str, in_flight: int) -> None:
        assert isinstance(bus, NatsBus)
        self._connection = bus.connection
        self._principal = principal
        self._subject = subjects.request(principal, "test_noop")
        self._reply = f"{bus.connection.options.inbox_prefix}.unread"
        self._in_flight = in_flight
        self._room = asyncio.Semaphore(in_flight)
        self._ended = 0
        self._problem = ""

    async def listen(self) -> None:
        """Subscribe to the ends."""
        for kind in ("finished", "unknown", "refused"):
            await self._connection.listen(f"writ.event.op.{self._principal}.*.{kind}", self._read)

    def _read(self, message: Any) -> None:
        self._ended += 1
        if SUCCEEDED not in message.data:
            self._problem = message.data.decode()[:500]
        self._room.release()

    async def run(self, count: int) -> None:
        """Run so many operations to their ends. Raises SystemExit if one fails."""
        for _ in range(count):
            await self._in_time(self._room.acquire())
            await self._connection.publish(self._subject, BODY, self._reply)
        for _ in range(self._in_flight):  # all slots are free when everything has ended
            await self._in_time(self._room.acquire())
        for _ in range(self._in_flight):
            self._room.release()

    async def _in_time(self, acquired: Any) -> None:
        if self._problem:
            raise SystemExit(f"an operation did not end well: {self._problem}")
        try:
            async with asyncio.timeout(PATIENCE):
                await acquired
        except TimeoutError:
            raise SystemExit(f"no operation ended within {PATIENCE:g} s, after {self._ended}") from None
