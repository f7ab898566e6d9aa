"""Reply injection with every key, over every subject of the registry and every verb of JetStream's API.

NATS does not check permissions of a reply subject. Any client with access to a service or to JetStream therefore
chooses the subject of the answer, and a direct get turns stored bytes into that answer. The registry generates the
pairs of question and reply subject, so each new subject, party or right is attacked without a line here.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, field
from nats.aio.msg import Msg

from writ_bus.grammar import matches
from writ_bus.nats.bus import NatsBus
from writ_contracts.registry import CHANNELS, Style
from writ_contracts.subjects import STREAMS
from writ_nats_server.config import Rights, gateway_rights, parties, render, rights, status_rights
from writ_testing.exhaustive import some
from writ_testing.peers.nats_server import WritServer, writ_server
from writ_testing.suites.bus_fixture import SOON

TOKENS = {
    "principal": ("alice", "bob", "trivy"),
    "pool": ("a", "b"),
    "token": ("one", "two"),
    "operation_id": ("a" * 26,),
    "rest": ("x", f"op.bob.{'b' * 26}.finished", f"op.bob.{'b' * 26}.granted", "control.stop_set"),
}
PLANTED = {
    "WRIT_JOURNAL": f"writ.journal.op.alice.{'p' * 26}.requested",
    "WRIT_POLICIES": f"writ.policies.published.{'p' * 26}",
    "WRIT_PARAMS": f"writ.params.{'p' * 26}",
    "WRIT_RESULTS": f"writ.result.alice.{'p' * 26}",
    "WRIT_SCANS": "writ.scanned.trivy.web-1",
}
"""The place of the bytes that an attacker has JetStream send."""
DURABLE: dict[str, Any] = {"durable_name": "evil", "ack_policy": "none", "deliver_policy": "all"}
NEW_STREAM = {"name": "EVIL", "subjects": ["evil.>"], "storage": "file"}


def api_requests() -> Iterator[tuple[str, bytes]]:
    """Yield JetStream's changing verbs, each with a valid body."""
    yield "$JS.API.STREAM.CREATE.EVIL", json.dumps(NEW_STREAM).encode()
    yield "$JS.API.ACCOUNT.PURGE.CORE", b""
    for stream in STREAMS:
        widest = {"name": stream, "subjects": [f"evil.{stream}.>"], "storage": "file", "max_msgs": 1, "discard": "old"}
        yield f"$JS.API.STREAM.UPDATE.{stream}", json.dumps(widest).encode()
        yield f"$JS.API.STREAM.MSG.DELETE.{stream}", b'{"seq":1}'
        yield f"$JS.API.CONSUMER.CREATE.{stream}.evil", json.dumps({"stream_name": stream, "config": DURABLE}).encode()
        yield (
            f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.evil",
            json.dumps({"stream_name": stream, "config": DURABLE}).encode(),
        )
        yield f"$JS.API.STREAM.SNAPSHOT.{stream}", b'{"deliver_subject":"writ.params.snapshot"}'
        yield f"$JS.API.STREAM.PURGE.{stream}", b"{}"
        yield f"writ.api.purge.{stream}", b"{}"
        yield f"$JS.API.STREAM.DELETE.{stream}", b""
    for pool in TOKENS["pool"]:
        yield f"$JS.API.CONSUMER.PAUSE.WRIT_JOURNAL.agent-{pool}", b'{"pause_until":"2100-01-01T00:00:00Z"}'
        yield f"$JS.ACK.WRIT_JOURNAL.agent-{pool}.1.1.1.1.1", b"+ACK"
        yield f"$JS.API.CONSUMER.DELETE.WRIT_JOURNAL.agent-{pool}", b""


def concrete(filters: Iterable[str]) -> Iterator[str]:
    """Yield subjects under these addresses or filters, for every party of the tests."""
    for one in filters:
        found = [""]
        for part in one.split("."):
            values = TOKENS.get(part[1:-1], ("x",)) if part.startswith("{") else (part,)
            found = [f"{head}.{value}" for head in found for value in values]
        yield from (subject.removeprefix(".") for subject in found)


def targets(users: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield subjects on which an answer could do harm, each with the harmful bytes."""
    yield from api_requests()
    for subject in concrete(channel.address for channel in CHANNELS):
        yield subject, b'{"target":"web-1","parameters":{"file_path":"/x"}}'
    yield f"writ.journal.op.bob.{'b' * 26}.granted", b"{}"
    for user in users:
        yield f"_INBOX_{user}.known", b"{}"


def questions(own: Rights) -> Iterator[tuple[str, bytes | None]]:
    """Yield the questions that this key may send, each with a body; None stands for the bytes to be returned."""
    for granted in own.publish:
        stream = next((name for name in STREAMS if name in granted), "")
        planted = PLANTED.get(stream, "")
        if granted == f"$JS.API.DIRECT.GET.{stream}":
            yield granted, json.dumps({"last_by_subj": planted}).encode()
            yield granted, json.dumps({"batch": 1, "seq": 1, "next_by_subj": planted}).encode()
        elif granted.startswith(f"$JS.API.DIRECT.GET.{stream}."):
            yield f"$JS.API.DIRECT.GET.{stream}.{planted}", b""
        elif granted.startswith("writ.api.leader."):
            yield granted, json.dumps({"last_by_subj": planted}).encode()
        elif ".CONSUMER.MSG.NEXT." in granted:
            yield granted, b'{"batch":1,"no_wait":true}'
        elif "PURGE" not in granted and "purge" not in granted:
            yield granted.replace("*", "x").replace(">", "x.x"), None


class State(Struct, frozen=True):
    """The state of the server: identity and configuration of each stream, its consumers, its messages by sequence."""

    streams: dict[str, Any]
    messages: dict[str, dict[int, str]]


class Listener(Struct):
    """A party that answers each request with the request itself, and records it."""

    account: str
    bus: NatsBus
    heard: list[str] = field(default_factory=list)


class World:
    """A server with all parties connected, each of which answers every message it may receive.

    Requests that a party only gets through a stream import are left to their true receiver.
    """

    def __init__(self, server: WritServer) -> None:
        self.server = server
        self.rights = {party.name: rights(party) for party in parties(server.plan)} | {"status": status_rights()}
        self.rights |= {name: gateway_rights(server.plan, name) for name in server.plan.gateways}
        self.roles = {party.name: party.role for party in parties(server.plan)}
        self.accounts = {party.name: party.account for party in parties(server.plan)} | {"status": "STATUS"}
        self.listeners: dict[str, Listener] = {}
        self._echoes: set[asyncio.Future[None]] = set()

    async def open(self) -> None:
        for name, own in self.rights.items():
            listener = Listener(self.accounts[name], await self.server.bus(name))
            self.listeners[name] = listener
            for subject in own.subscribe:
                if not subject.startswith("$SRV"):
                    known = subject.replace(".>", ".known") if subject.startswith("_INBOX") else subject
                    await listener.bus.connection.listen(known, self._answering(listener, name))

    def _answering(self, listener: Listener, name: str) -> Any:
        others = [
            channel.subject()
            for channel in CHANNELS
            if self.roles.get(name) in channel.receivers[1:] and channel.style is Style.REQUEST
        ]

        def handle(message: Msg) -> None:
            listener.heard.append(message.subject)
            if message.reply and not any(matches(one, message.subject) for one in others):
                echo = listener.bus.connection.publish(message.reply, message.data)
                self._echoes.add(task := asyncio.ensure_future(echo))
                task.add_done_callback(self._echoes.discard)

        return handle

    async def plant(self, body: bytes) -> None:
        """Store these bytes in every stream, with the keys of its writers."""
        for subject in PLANTED.values():
            owner = next(name for name, own in self.rights.items() if any(matches(one, subject) for one in own.publish))
            await self.listeners[owner].bus.replies.one(subject, body, timeout=SOON)

    async def settle(self) -> None:
        """Wait until all messages and their consequences have arrived."""
        for _ in range(4):
            while self._echoes:
                await asyncio.gather(*self._echoes, return_exceptions=True)
            for listener in self.listeners.values():
                await listener.bus.connection.round_trip(SOON)

    async def state(self, admin: NatsBus) -> State:
        async def call(verb: str, body: bytes = b"") -> Any:
            return json.loads((await admin.request(f"$JS.API.{verb}", body, timeout=SOON)).data)

        streams, messages = dict[str, Any](), dict[str, dict[int, str]]()
        for info in (await call("STREAM.LIST"))["streams"]:
            name = info["config"]["name"]
            consumers = (await call(f"CONSUMER.LIST.{name}"))["consumers"]
            kept = [{key: one.get(key) for key in ("name", "created", "config", "paused")} for one in consumers]
            streams[name] = {"created": info["created"], "config": info["config"], "consumers": kept}
            messages[name] = await _messages(admin, name, info["state"])
        return State(streams, messages)


async def _messages(admin: NatsBus, stream: str, state: Any) -> dict[int, str]:
    found: dict[int, str] = {}
    for sequence in range(state["first_seq"], state["last_seq"] + 1):
        got = await admin.request(f"$JS.API.STREAM.MSG.GET.{stream}", b'{"seq":%d}' % sequence, timeout=SOON)
        if (message := json.loads(got.data).get("message")) is not None:
            found[sequence] = message["subject"]
    return found


def may(own: Rights, subject: str) -> bool:
    return any(matches(one, subject) for one in own.publish)


def is_own(own: Rights, subject: str) -> bool:
    """Return true if the key could have caused this by publishing, directly or through republishing."""
    return may(own, subject) or may(own, subject.replace("writ.event.", "writ.journal.", 1))


def foreign(before: State, after: State, own: Rights) -> list[str]:
    """Return the changes beyond the rights of the key."""
    found = [f"stream {name}" for name in before.streams if after.streams.get(name) != before.streams[name]]
    found += [f"new stream {name}" for name in after.streams.keys() - before.streams.keys()]
    for name, messages in before.messages.items():
        now = after.messages.get(name, {})
        keeps_one = after.streams.get(name, {}).get("config", {}).get("max_msgs_per_subject") == 1
        if not keeps_one and messages.keys() - now.keys():
            found.append(f"events gone from {name}")
        new = {subject for sequence, subject in now.items() if sequence not in messages}
        found += [f"{name} has {subject}" for subject in sorted(new) if not may(own, subject)]
    return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with writ_server(tmp_path, scanners=("trivy",), tokens=("one", "two"), gateways={"mcp": ["bob"]}) as server:
        world = World(server)
        await world.open()
        yield world


KEYS = ("executor", "policy", "audit", "keeper", "status", "alice", "trivy", "mcp", "agent-a", "enrol-one")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("key", some(KEYS, "executor", "alice", "agent-a"))
async def test_reply_subject_reaches_nothing_that_its_requester_may_not_publish(world: World, key: str) -> None:
    own, thief = world.rights[key], await world.server.bus(key)
    pairs: dict[bytes, list[str]] = {}
    for target, body in targets(world.rights):
        if not may(own, target):
            pairs.setdefault(body, []).append(target)
    async with world.server.connected("bootstrap") as admin:
        for body, expected in pairs.items():
            await world.plant(body)
            before, heard = await world.state(admin), {name: len(one.heard) for name, one in world.listeners.items()}
            await inject(thief, own, body, expected)
            await world.settle()
            assert foreign(before, await world.state(admin), own) == [], (key, body)
            for name, listener in world.listeners.items():
                if listener.account != world.accounts[key]:
                    strange = {one for one in listener.heard[heard[name] :] if not is_own(own, one)}
                    assert strange == set(), f"{name} heard what {key} may not say"


async def inject(thief: NatsBus, own: Rights, body: bytes, expected: Sequence[str]) -> None:
    for subject, data in questions(own):
        for target in expected:
            if not target.startswith("$JS.ACK"):  # a client that names it as reply is disconnected by the server
                await thief.connection.publish(subject, body if data is None else data, target)
        await thief.connection.round_trip(SOON)


def test_every_party_of_the_registry_is_an_attacker(tmp_path: Path) -> None:
    plan = WritServer(tmp_path, ["alice", "bob", "trivy"], ["a", "b"], ["trivy"], ["one", "two"], {"mcp": ["bob"]}).plan
    assert {party.role for party in parties(plan)} == {party.role for party in parties(plan) if party.name in KEYS}


def test_the_account_with_jetstream_holds_bootstrap_alone(tmp_path: Path) -> None:
    plan = WritServer(tmp_path, ["alice"], ["a"]).plan
    text = render(plan)
    accounts = json.loads(text.partition("\naccounts: ")[2].partition("\nsystem_account: ")[0])
    with_jetstream = [block for block in accounts.values() if "jetstream" in block]
    assert [[user["nkey"] for user in block["users"]] for block in with_jetstream] == [list(plan.bootstrap)]
