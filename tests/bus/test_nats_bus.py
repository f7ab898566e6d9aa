"""The real bus passes the suite, against a real server with Writ's own permissions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from writ_bus.errors import TimedOut, Unreachable
from writ_bus.nats_bus import NatsBus
from writ_bus.port import Bus, Delivery
from writ_testing.bus_suite import BusSuite
from writ_testing.nats_server import WritServer, writ_server
from writ_testing.work_suite import DURABLE, STREAM, dispatch


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


@pytest.mark.parametrize("error", [Unreachable("gone"), RuntimeError("a defect")])
async def test_a_pull_that_fails_whatever_it_fails_with_is_made_again(ground: NatsGround, error: Exception) -> None:
    agent, executor, done = await ground.bus("agent-a"), await ground.bus("executor"), asyncio.Event()
    publish, failures = agent.connection.publish, 2

    async def failing(subject: str, *rest: Any, **more: Any) -> None:
        nonlocal failures
        if "MSG.NEXT" in subject and failures:
            failures -= 1
            raise error
        await publish(subject, *rest, **more)

    async def work(delivery: Delivery) -> None:
        await delivery.ack()
        done.set()

    agent.connection.publish = failing  # type: ignore[method-assign]
    await agent.pull(DURABLE, STREAM, work, slots=1)
    await dispatch(executor, 0)
    async with asyncio.timeout(20.0):
        await done.wait()
    assert failures == 0
