"""A party cannot have a reply, acknowledgement or delivery published on a subject that it may not publish on.

The server checks the publisher of a request, not its reply subject. These tests show that the answer stays in the
requester's account and reaches no listener there, for requesters, agents and services on the real server.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from writ_bus.nats.bus import NatsBus
from writ_bus.port import Delivery, Message, Service
from writ_contracts import subjects
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import WritServer, writ_server
from writ_testing.suites.bus_fixture import SOON, service
from writ_testing.suites.work import DURABLE, STREAM, dispatch

TARGETS = (
    "writ.journal.op.alice.aaaaaaaaaaaaaaaaaaaaaaaaaa.cancelled",
    "writ.journal.control.stop",
    "writ.params.o1",
    "writ.result.bob.o1",
    "writ.request.bob.service_restart",
    "writ.query.bob.operation",
    "writ.policy.decide",
    "writ.claim.b",
    "writ.receipt.b",
    "writ.event.op.bob.o1.finished",
    "writ.agent.b.look",
    "$JS.API.STREAM.DELETE.WRIT_RESULTS",
    "$JS.API.CONSUMER.DELETE.WRIT_JOURNAL.agent-b",
    "$JS.ACK.WRIT_JOURNAL.agent-b.1.1.1.1.1",
    "_INBOX_bob.known",
    "_INBOX_executor.known",
    "_INBOX_executor.all.known",
)


class Watch:
    """A record of every message that could deceive a party: handled by a service, received by a listener, or stored."""

    def __init__(self, server: WritServer) -> None:
        self.server = server
        self.handled: list[str] = []
        self.heard: list[str] = []
        self.executor: NatsBus

    async def open(self) -> None:
        """Serve and listen on every subject that the roles permit."""
        self.executor = await self.server.bus("executor")
        policy, agent = await self.server.bus("policy"), await self.server.bus("agent-b")
        for subject in ("writ.request.*.*", "writ.query.*.operation", "writ.claim.*", "writ.receipt.*"):
            await self.executor.serve(self._recording("executor", subject))
        await policy.serve(self._recording("policy", "writ.policy.decide"))
        await agent.serve(self._recording("agent-b", "writ.agent.b.look"))
        bob = await self.server.bus("bob")
        for bus, subject in (
            (bob, "writ.event.op.bob.>"),
            (bob, "_INBOX_bob.known"),
            (self.executor, "_INBOX_executor.known"),
            (self.executor, "_INBOX_executor.all.known"),
        ):
            await bus.subscribe(subject, self._hear)

    def _recording(self, name: str, subject: str) -> Service:
        async def handle(message: Message) -> bytes:
            self.handled.append(message.subject)
            return b'{"target":"web-1"}'

        return service(name, subject, handle)

    async def _hear(self, message: Message) -> None:
        self.heard.append(message.subject)

    async def settle(self) -> None:
        """Wait until all sent messages have had every chance to arrive."""
        for user, subject in (("alice", "writ.request.alice.settle"), ("agent-a", "writ.receipt.a")):
            async with self.server.connected(user) as bus:
                for _ in range(3):
                    await bus.request(subject, b"", timeout=SOON)
        await self.executor.request("writ.policy.decide", b"", timeout=SOON)
        self.handled = [one for one in self.handled if not one.endswith((".settle", "writ.receipt.a", ".decide"))]

    async def stored(self) -> list[str]:
        """Return the subjects of all messages in the journal and, by number, in the other streams."""
        found = [record.subject for record in await self.executor.journal.read("writ.journal.>")]
        async with self.server.connected("bootstrap") as bus:
            for stream in (subjects.PARAMS_STREAM, subjects.RESULTS_STREAM):
                info = json.loads((await bus.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=SOON)).data)
                found += [stream] * info["state"]["messages"]
            consumer = f"$JS.API.CONSUMER.INFO.{STREAM}.agent-b"
            assert "error" not in json.loads((await bus.request(consumer, b"", timeout=SOON)).data)
        return found


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    async with writ_server(tmp_path) as server:
        watch = Watch(server)
        await watch.open()
        yield watch


async def ask(bus: NatsBus, subject: str, data: bytes, reply: str) -> None:
    await bus.connection.publish(subject, data, reply)
    await bus.connection.round_trip(SOON)


async def test_requester_cannot_direct_a_reply(watch: Watch) -> None:
    alice = await watch.server.bus("alice")
    for reply in TARGETS:
        await ask(alice, "writ.request.alice.test_noop", b"{}", reply)
        await ask(alice, "writ.query.alice.operation", b"{}", reply)
    await watch.settle()
    assert set(watch.handled) == {"writ.request.alice.test_noop", "writ.query.alice.operation"}
    assert len(watch.handled) == 2 * (len(TARGETS) - 1)  # the server itself refuses $JS.ACK as a reply
    assert watch.heard == []
    assert await watch.stored() == []


async def test_agent_cannot_direct_a_reply(watch: Watch) -> None:
    agent = await watch.server.bus("agent-a")
    for reply in TARGETS:
        await ask(agent, "writ.claim.a", b"{}", reply)
    await watch.settle()
    assert watch.handled == ["writ.claim.a"] * (len(TARGETS) - 1)
    assert watch.heard == []
    assert await watch.stored() == []


async def test_agent_cannot_direct_a_delivery(watch: Watch) -> None:
    agent = await watch.server.bus("agent-a")
    for number, reply in enumerate(TARGETS):
        await dispatch(watch.executor, number)
        await ask(agent, f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{DURABLE}", b'{"batch":1,"no_wait":true}', reply)
    await watch.settle()
    assert watch.handled == []
    assert watch.heard == []
    assert [one.rsplit(".")[5] for one in await watch.stored()] == ["dispatched"] * len(TARGETS)


async def test_agent_cannot_direct_the_reply_to_an_ack(watch: Watch) -> None:
    agent = await watch.server.bus("agent-a")
    taken: asyncio.Queue[Delivery] = asyncio.Queue()

    async def take(delivery: Delivery) -> None:
        taken.put_nowait(delivery)

    await agent.pull(DURABLE, STREAM, take, slots=1)
    for number, reply in enumerate(TARGETS):
        await dispatch(watch.executor, number)
        async with asyncio.timeout(SOON):
            delivery = await taken.get()
        await ask(agent, delivery.message.reply, b"+ACK", reply)
    await watch.settle()
    assert watch.handled == []
    assert watch.heard == []
    assert len(await watch.stored()) == len(TARGETS)


@pytest.mark.parametrize(
    ("user", "subject", "data"),
    [
        ("audit", "$JS.API.DIRECT.GET.WRIT_JOURNAL", b'{"seq":1}'),
        ("audit", "writ.api.journal", b""),
        ("policy", "$JS.API.DIRECT.GET.WRIT_JOURNAL", b'{"seq":1}'),
        ("policy", "writ.api.journal", b""),
        ("status", "writ.api.journal", b""),
        ("status", "$SRV.PING", b""),
    ],
)
async def test_service_cannot_direct_a_reply(watch: Watch, user: str, subject: str, data: bytes) -> None:
    await dispatch(watch.executor)
    bus = await watch.server.bus(user)
    for reply in TARGETS:
        await ask(bus, subject, data, reply)
    await watch.settle()
    assert watch.handled == []
    assert watch.heard == []
    assert len(await watch.stored()) == 1


async def informed(watch: Watch, subject: str) -> list[dict[str, Any]]:
    """Collect the server's statement about the sender of each later request."""
    requests: list[dict[str, Any]] = []

    async def handle(message: Message) -> bytes:
        requests.append(json.loads(message.headers["Nats-Request-Info"]) | {"reply": message.reply})
        return b""

    await (await watch.server.bus("executor")).serve(service("executor", subject, handle))
    return requests


async def test_server_names_the_key_of_a_sender_despite_false_headers(watch: Watch) -> None:
    requests = await informed(watch, "writ.query.*.simulate")
    alice = await watch.server.bus("alice")
    forged = json.dumps({"user": watch.server.keys["bob"].public, "acc": "REQ_bob"})
    await alice.request("writ.query.alice.simulate", b"", timeout=SOON)
    await alice.request("writ.query.alice.simulate", b"", timeout=SOON, headers={"Nats-Request-Info": forged})
    assert [one["user"] for one in requests] == [watch.server.keys["alice"].public] * 2
    assert [one["acc"] for one in requests] == ["REQ_alice"] * 2


async def test_reply_that_is_sent_on_as_a_request_does_not_bear_the_senders_key(watch: Watch) -> None:
    """The server forwards a reply through an import of the same account, and then names the replying party.

    Within the account of one principal it reaches no subject of others; services compare the key all the same.
    """
    requests = await informed(watch, "writ.query.*.simulate")
    alice = await watch.server.bus("alice")
    await ask(alice, "writ.request.alice.test_noop", b"{}", "writ.query.alice.simulate")

    async def passed_on() -> bool:
        return bool(requests)

    await eventually(passed_on)
    await watch.settle()
    assert [one["user"] for one in requests] == [watch.server.keys["executor"].public]
    assert [one["reply"] for one in requests] == [""]
