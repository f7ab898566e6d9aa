"""A subscription that the server does not confirm in time leaves nothing behind: a second try receives each message
once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from writ_bus.errors import TimedOut
from writ_bus.nats import connection
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.port import Message, Subscription
from writ_nats_server.process import ServerProcess
from writ_testing.peers.nats_server import anybody, open_server

SUBJECT = "some.where"
SHORT = 0.1


@pytest.fixture(params=["direct", "plain"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[ServerProcess, NatsBus]]:
    async with open_server(tmp_path) as (process, url):
        bus = await connect(anybody(url, client=request.param))
        yield process, bus
        await bus.close()


async def _not_confirmed(bus: NatsBus, receive: Callable[[Message], Awaitable[None]]) -> None:
    with pytest.raises(TimedOut, match="no pong"):
        await bus.subscribe(SUBJECT, receive)


async def _cancelled(bus: NatsBus, receive: Callable[[Message], Awaitable[None]]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SHORT):
            await bus.subscribe(SUBJECT, receive)


@pytest.mark.parametrize("fails", [_not_confirmed, _cancelled], ids=["not confirmed", "cancelled"])
async def test_subscription_that_failed_receives_nothing(
    world: tuple[ServerProcess, NatsBus],
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[[NatsBus, Callable[[Message], Awaitable[None]]], Awaitable[None]],
) -> None:
    (process, bus), received = world, list[str]()

    def noting(name: str) -> Callable[[Message], Awaitable[None]]:
        async def note(_: Message) -> None:
            received.append(name)

        return note

    process.pause()
    try:
        with monkeypatch.context() as patch:
            if fails is _not_confirmed:
                patch.setattr(connection, "LISTENING_WITHIN", SHORT)
            await fails(bus, noting("failed"))
    finally:
        process.resume()
    second: Subscription = await bus.subscribe(SUBJECT, noting("second"))
    await bus.publish(SUBJECT, b"")
    await second.close()  # what the server has sent is received before
    assert received == ["second"]
