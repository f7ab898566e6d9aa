"""An executor may reply to the discovery by another one after NATS has loaded its configuration again.

The server forgets then to which requests a client may reply, and each refusal is a security event.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from writ_bus.nats.bus import NatsBus
from writ_bus.port import Message
from writ_testing.peers.nats_server import WritServer, writ_server
from writ_testing.suites.bus_fixture import SOON

DISCOVERY = "$SRV.PING.executor"


class Replica:
    """An executor that keeps the reply subject of a discovery, and is refused what `refused` lists."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.bus: NatsBus
        self.asked: asyncio.Queue[str] = asyncio.Queue()

    async def open(self, server: WritServer) -> None:
        self.bus = await server.bus("executor", on_violation=lambda _, subject: self.refused.append(subject))
        await self.bus.subscribe(DISCOVERY, self._keep)

    async def _keep(self, message: Message) -> None:
        self.asked.put_nowait(message.reply)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[WritServer, Replica, NatsBus]]:
    async with writ_server(tmp_path, pools=()) as server:
        replica = Replica()
        await replica.open(server)
        yield server, replica, await server.bus("executor")


async def test_reply_to_discovery_is_permitted_after_a_new_configuration(
    world: tuple[WritServer, Replica, NatsBus],
) -> None:
    server, replica, other = world
    discovering = asyncio.create_task(other.request_many(DISCOVERY, b"", timeout=SOON))
    reply = await replica.asked.get()
    await server.add_principal("carol")
    await replica.bus.publish(reply, b"late")
    await replica.bus.publish(f"_INBOX_executor.one.{reply.split('.')[2]}.0", b"")  # where no reply is due
    await replica.bus.connection.round_trip(SOON)
    discovering.cancel()
    assert [subject.rsplit(".", 1)[0] for subject in replica.refused] == [
        f"_INBOX_executor.one.{reply.split('.')[2]}".lower()
    ]


async def test_reply_to_all_is_not_taken_for_the_reply_to_one_request(
    world: tuple[WritServer, Replica, NatsBus],
) -> None:
    """Executors may publish there at any time, so a thief of their key could make up policy's replies."""
    server, replica, other = world
    policy, asked = await server.bus("policy"), asyncio.Queue[str]()

    async def keep(message: Message) -> None:
        asked.put_nowait(message.reply)

    await policy.subscribe("writ.policy.decide", keep)
    requesting = asyncio.create_task(other.request("writ.policy.decide", b"", timeout=SOON))
    reply = await asked.get()
    [expected] = other.replies._waiting
    await replica.bus.publish(expected.replace(".one.", ".all."), b"made up")
    await replica.bus.connection.round_trip(SOON)
    await other.connection.round_trip(SOON)
    assert not requesting.done()
    assert replica.refused == []
    await policy.publish(reply, b"decided")
    assert (await requesting).data == b"decided"
