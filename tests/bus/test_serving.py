"""A service replies to inboxes only: the last protection against requesters within its own account."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from writ_bus.grammar import is_inbox
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.port import Bus, Message
from writ_testing.each_case import each_case
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_testing.peers.nats_server import anybody, open_server
from writ_testing.suites.bus_fixture import SOON, echo, everybody, service


@pytest.fixture(params=["memory", "nats"])
async def bus(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bus]:
    if request.param == "memory":
        yield MemoryBus(Broker())
        return
    async with open_server(tmp_path) as (_, url):
        bus = await connect(anybody(url))
        yield bus
        await bus.close()


async def ask_with_reply(bus: Bus, subject: str, reply: str) -> None:
    if isinstance(bus, NatsBus):
        await bus.connection.publish(subject, b"", reply)
    else:
        assert isinstance(bus, MemoryBus)
        bus.broker.deliver(Message(subject, b"", {}, reply))


@pytest.mark.parametrize("reply", ["writ.journal.control.stop", "writ.request.bob.service_restart", "$JS.API.INFO"])
async def test_reply_subject_that_is_no_inbox_gets_no_reply_and_is_counted(bus: Bus, reply: str) -> None:
    handled: list[str] = []
    arrived: list[str] = []

    async def handle(message: Message) -> bytes:
        handled.append(message.reply)
        return b"answer"

    async def hear(message: Message) -> None:
        arrived.append(message.subject)

    serving = await bus.serve(service("policy", "writ.policy.decide", handle))
    await bus.subscribe(reply, hear)
    await ask_with_reply(bus, "writ.policy.decide", reply)

    async def refused() -> bool:
        return serving.refused_replies == 1

    await eventually(refused)
    await bus.request("writ.policy.decide", b"", timeout=SOON)
    assert len(handled) == 1
    assert arrived == []


async def test_request_without_a_reply_subject_is_handled_and_not_answered(bus: Bus) -> None:
    handled: list[bytes] = []

    async def handle(message: Message) -> bytes:
        handled.append(message.data)
        return b"answer"

    serving = await bus.serve(service("policy", "writ.policy.decide", handle))
    await bus.publish("writ.policy.decide", b"told")
    await bus.request("writ.policy.decide", b"asked", timeout=SOON)
    assert handled == [b"told", b"asked"]
    assert serving.refused_replies == 0


async def test_discovery_of_a_service_that_is_gone_finds_nobody(bus: Bus) -> None:
    serving = await bus.serve(service("policy", "writ.policy.decide", echo))
    assert len(await everybody(bus, "$SRV.PING")) == 1
    await serving.close()
    assert await bus.request_many("$SRV.PING", b"", timeout=0.2) == []


@each_case(
    ("reply", "safe"),
    [
        ("_INBOX.abc.1", True),
        ("_INBOX_alice.abc.1", True),
        ("_INBOX_agent-local-web.abc.1", True),
        ("_R_.abc.def", True),
        ("_INBOX", False),
        ("_INBOX.", False),
        ("_INBOX.*", False),
        ("_INBOXES.abc", False),
        ("_R_", False),
        ("x._INBOX.abc", False),
        ("writ.journal.x", False),
        ("$JS.ACK.WRIT_JOURNAL.agent-a.1.1.1.1.1", False),
    ],
)
def test_inbox_subjects_are_recognised(reply: str, safe: bool) -> None:
    assert is_inbox(reply) is safe
