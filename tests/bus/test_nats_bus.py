"""The real bus passes the suite, against a real server with Writ's own permissions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nats.aio.msg import Msg

from writ_bus.errors import Conflict, TimedOut, Unreachable
from writ_bus.nats.bus import NatsBus
from writ_bus.port import Bus, Delivery
from writ_testing.peers.nats_server import WritServer, writ_server
from writ_testing.suites.bus import BusSuite
from writ_testing.suites.work import DURABLE, STREAM, dispatch


class NatsGround:
    """The NATS bus with one server."""

    ack_wait = 6.0  # more than a machine that stands still for a moment takes to pass an ack on
    max_bytes = 2 << 20

    def __init__(self, server: WritServer) -> None:
        self.server = server

    async def bus(self, name: str) -> NatsBus:
        return await self.server.bus(name)

    async def restart(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        await self.server.process.stop()
        await meanwhile()
        await self.server.start()

    def lose_answers(self, bus: Bus, number: int, prefix: str = "writ.journal.") -> None:
        assert isinstance(bus, NatsBus)
        ask, left = bus.replies.one, number

        async def lose(subject: str, data: bytes, **options: Any) -> Msg:
            nonlocal left
            answer = await ask(subject, data, **options)
            if left and subject.startswith(prefix):
                left -= 1
                raise TimedOut("the answer got lost")
            return answer

        bus.replies.one = lose  # type: ignore[method-assign]


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[NatsGround]:
    async with writ_server(tmp_path, journal_bytes=NatsGround.max_bytes, ack_wait=NatsGround.ack_wait) as server:
        yield NatsGround(server)


class TestNatsBus(BusSuite):
    """All tests of the suite, over the wire."""

    async def test_value_that_was_stored_without_an_answer_is_not_taken_for_another_one(
        self, ground: NatsGround
    ) -> None:
        bus = await ground.bus("executor")
        ground.lose_answers(bus, 1, prefix="writ.params.")
        version = await bus.params.put("a", b"first", ttl=60, only_new=True)
        assert await bus.params.get("a") == b"first"
        ground.lose_answers(bus, 1, prefix="writ.params.")
        with pytest.raises(Conflict):
            await bus.params.put("a", b"second", ttl=60, only_new=True)
        await bus.params.delete("a", version=version)
        assert await bus.params.get("a") is None

    async def test_deletion_without_an_answer_is_repeated(self, ground: NatsGround) -> None:
        bus = await ground.bus("executor")
        await bus.params.put("a", b"first", ttl=60)
        ground.lose_answers(bus, 1, prefix="writ.api.purge.")
        await bus.params.delete("a")
        assert await bus.params.get("a") is None


@pytest.mark.parametrize("error", [Unreachable("gone"), RuntimeError("a defect")])
async def test_pull_is_repeated_after_any_failure(ground: NatsGround, error: Exception) -> None:
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


async def test_missing_responder_is_no_timeout_even_with_hardly_any_time_left() -> None:
    tried: list[float] = []

    async def one(*_: object, timeout: float, headers: object) -> Msg:
        tried.append(timeout)
        raise Unreachable("nobody") if len(tried) == 1 else TimedOut("no answer")

    async def oversleeps(_: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.27)

    connection: Any = SimpleNamespace(wait_up=oversleeps)
    replies: Any = SimpleNamespace(one=one)
    with pytest.raises(Unreachable):
        await NatsBus(connection, replies).request("somewhere", b"", timeout=0.3)
    assert len(tried) == 1
