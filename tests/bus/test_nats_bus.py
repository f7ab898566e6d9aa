"""The real bus passes the suite, against a real server with Writ's own permissions."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from writ_bus.errors import TimedOut
from writ_bus.nats_bus import NatsBus
from writ_bus.port import Bus
from writ_testing.bus_suite import BusSuite
from writ_testing.nats_server import WritServer, writ_server


class NatsGround:
    """One server."""

    ack_wait = 1.0
    max_bytes = 2 << 20

    def __init__(self, server: WritServer) -> None:
        self.server = server

    async def bus(self, name: str) -> NatsBus:
        return await self.server.bus(name)

    async def restart(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        await self.server.process.stop()
        await meanwhile()
        await self.server.start()

    def lose_answers(self, bus: Bus, number: int) -> None:
        assert isinstance(bus, NatsBus)
        ask, left = bus.replies.one, number

        async def lose(subject: str, data: bytes, **options: Any) -> Msg:
            nonlocal left
            answer = await ask(subject, data, **options)
            if left and subject.startswith("writ.journal."):
                left -= 1
                raise TimedOut("the answer got lost")
            return answer

        bus.replies.one = lose  # type: ignore[method-assign]


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[NatsGround]:
    async with writ_server(tmp_path, journal_bytes=NatsGround.max_bytes, ack_wait=NatsGround.ack_wait) as server:
        yield NatsGround(server)


class TestNatsBus(BusSuite):
    """Everything, over the wire."""
