"""The real server, with the generated configuration, refuses each party all but its rights in the registry.

The tests derive those rights from the registry and a table of JetStream's subjects, without the code that renders the
configuration.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from writ_bus.errors import Forbidden
from writ_bus.grammar import matches
from writ_bus.nats.bus import NatsBus
from writ_bus.port import Entry, Message
from writ_contracts.catalogue.control import FOR_PEOPLE
from writ_contracts.registry import CHANNELS, Channel, Role, Style
from writ_testing.peers.nats_server import WritServer, writ_server
from writ_testing.suites.bus_fixture import SOON, echo, service

pytestmark = pytest.mark.asyncio(loop_scope="module")

PEOPLE = ("alice", "bob", "trivy")
SERVICES = ("executor", "policy", "audit", "keeper", "status", "bootstrap")
USERS = (*SERVICES, *PEOPLE, "mcp", "agent-a", "agent-b", "enrol-one", "enrol-two")
SERVED = "bob"
"""The principal for which the gateway `mcp` may send."""
TOKENS = {"token": ("one", "two"), "principal": PEOPLE, "pool": ("a", "b"), "rest": ("x", "op.alice.o1.started")}
STREAMS = ("WRIT_JOURNAL", "WRIT_PARAMS", "WRIT_RESULTS", "WRIT_POLICIES", "WRIT_SCANS")


def role_of(user: str) -> Role | None:
    if user in PEOPLE:
        return Role.PRINCIPAL
    if user == "mcp":
        return Role.GATEWAY
    if user.startswith("agent-"):
        return Role.AGENT
    if user.startswith("enrol-"):
        return Role.ENROLLER
    return Role(user) if user in tuple(Role) else None


def is_in(user: str, roles: tuple[Role, ...]) -> bool:
    """Return true if the user has one of these roles; a scanner is a principal too."""
    return role_of(user) in roles or (user == "trivy" and Role.SCANNER in roles)


def mine(user: str, channel: Channel) -> str:
    """Return the part of the channel's filter that this user may use."""
    tokens = {
        Role.PRINCIPAL: {"principal": user},
        Role.GATEWAY: {"principal": SERVED},
        Role.AGENT: {"pool": user.removeprefix("agent-")},
        Role.ENROLLER: {"token": user.removeprefix("enrol-")},
    }
    role = role_of(user)
    return channel.subject(**tokens.get(role, {})) if role else channel.subject()


def concrete(channel: Channel) -> Iterator[str]:
    """Return the subjects of the channel, for every principal and pool."""
    found = [""]
    for part in channel.address.split("."):
        values = TOKENS.get(part[1:-1], (f"{part[1:-1]}1",)) if part.startswith("{") else (part,)
        found = [f"{head}.{value}" for head in found for value in values]
    return (subject.removeprefix(".") for subject in found)


JETSTREAM = [
    *(
        f"$JS.API.{what}"
        for what in ("INFO", "STREAM.LIST", "STREAM.NAMES", "ACCOUNT.PURGE.CORE", "META.LEADER.STEPDOWN")
    ),
    *(
        f"$JS.API.{verb}.{stream}"
        for stream in STREAMS
        for verb in (
            *("STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.INFO", "STREAM.PURGE", "STREAM.MSG.DELETE"),
            *("STREAM.MSG.GET", "STREAM.SNAPSHOT", "STREAM.RESTORE", "STREAM.LEADER.STEPDOWN", "DIRECT.GET"),
            *("CONSUMER.CREATE", "CONSUMER.LIST", "CONSUMER.NAMES"),
        )
    ),
    *(
        f"$JS.API.{verb}.WRIT_JOURNAL.{durable}"
        for durable in ("agent-a", "agent-b", "mine")
        for verb in (
            *("CONSUMER.CREATE", "CONSUMER.DURABLE.CREATE", "CONSUMER.DELETE", "CONSUMER.INFO", "CONSUMER.MSG.NEXT"),
            *("CONSUMER.PAUSE", "CONSUMER.LEADER.STEPDOWN", "CONSUMER.UNPIN", "CONSUMER.RESET"),
        )
    ),
    "$JS.API.CONSUMER.CREATE.WRIT_JOURNAL.mine.writ.journal.>",
    "$JS.API.DIRECT.GET.WRIT_JOURNAL.writ.journal.control.stop",
    *(f"$JS.API.DIRECT.GET.{stream}" for stream in ("WRIT_PARAMS.writ.params.o1", "WRIT_RESULTS.writ.result.alice.o1")),
    *(f"$JS.ACK.WRIT_JOURNAL.agent-{pool}.1.1.1.1.1" for pool in "ab"),
    *(f"$JS.ACK._.hash.WRIT_JOURNAL.agent-{pool}.1.1.1.1.1.x" for pool in "ab"),
]
SERVERS = ("writ.api.servers.state", "writ.api.servers.streams")
OTHERS = [
    *("$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.ACCOUNT.CORE.CONNZ", "$SYS.ACCOUNT.CORE.CONNECT"),
    *(f"_INBOX_{user}.guess" for user in USERS),
    *("_INBOX.guess", "_R_.guess.x", "$KV.bucket.key", "$O.bucket.C.x", "anything", "writ.unheard.of"),
    *("$SYS.REQ.SERVER.PING.JSZ", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.X.RELOAD", "$SYS.REQ.SERVER.X.KICK"),
    *(f"writ.api.{verb}.{stream}" for verb in ("leader", "purge") for stream in STREAMS),
    *(f"writ.journal.op.alice.o1.{kind}" for kind in ("granted", "approved", "requested", "finished.x")),
    *("writ.api.journal", "writ.api.clock", "writ.api.params", *SERVERS, "writ.api.servers.connections"),
    *(
        "$SRV.PING",
        "$SRV.PING.executor",
        "$SRV.PING.policy",
        "$SRV.INFO.executor",
        "$SRV.INFO.policy",
        "$SRV.STATS.policy.x",
    ),
    *(f"writ.request.{who}.{operation}" for who in PEOPLE for operation in FOR_PEOPLE),
]

PARTIES: dict[str, Any] = {"scanners": ("trivy",), "tokens": ("one", "two"), "gateways": {"mcp": [SERVED]}}
READS_POLICIES = ("$JS.API.DIRECT.GET.WRIT_POLICIES", "writ.api.leader.WRIT_POLICIES")
READS_SCANS = ("$JS.API.DIRECT.GET.WRIT_SCANS", "writ.api.leader.WRIT_SCANS")
READS_JOURNAL = (
    "$JS.API.DIRECT.GET.WRIT_JOURNAL",
    "writ.api.leader.WRIT_JOURNAL",
    *("writ.api.journal", "writ.api.clock"),
)
ALLOWED_BESIDES: dict[str, tuple[str, ...]] = {
    "executor": (
        *READS_JOURNAL,
        *READS_POLICIES,
        *("writ.api.leader.WRIT_PARAMS", "writ.api.leader.WRIT_RESULTS"),
        *("writ.api.purge.WRIT_PARAMS", "writ.api.purge.WRIT_RESULTS"),
        "$SRV.PING.executor",
        *("$JS.API.DIRECT.GET.WRIT_PARAMS.writ.params.>", "$JS.API.DIRECT.GET.WRIT_RESULTS.writ.result.>"),
    ),
    "policy": (*READS_JOURNAL, *READS_POLICIES, *READS_SCANS),
    "audit": (*READS_JOURNAL, *READS_POLICIES, *SERVERS),
    "status": ("writ.api.journal", "$SRV.PING", "$SRV.PING.*", "$SRV.INFO.*", "$SRV.STATS.*.*"),
    "bootstrap": ("$JS.API.>", "writ.api.leader.*"),
    **{
        f"agent-{pool}": (
            f"$JS.API.CONSUMER.MSG.NEXT.WRIT_JOURNAL.agent-{pool}",
            f"$JS.ACK.WRIT_JOURNAL.agent-{pool}.>",
            f"$JS.ACK.*.*.WRIT_JOURNAL.agent-{pool}.>",
            "writ.api.clock",
        )
        for pool in "ab"
    },
}
UNIVERSE = sorted({*(one for channel in CHANNELS for one in concrete(channel)), *JETSTREAM, *OTHERS})


def may_publish(user: str, subject: str) -> bool:
    if user == "mcp" and subject.rpartition(".")[2] in FOR_PEOPLE:
        return False
    filters = [mine(user, one) for one in CHANNELS if is_in(user, one.senders)] + [*ALLOWED_BESIDES.get(user, ())]
    return any(matches(one, subject) for one in filters)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WritServer]:
    async with writ_server(Path(tmp_path_factory.mktemp("nats")), **PARTIES) as server:
        yield server


@pytest.mark.parametrize("user", USERS)
async def test_publishing_is_refused_unless_it_is_granted(server: WritServer, user: str) -> None:
    refused: set[str] = set()
    bus = await server.bus(user, on_violation=lambda verb, subject: refused.add(subject))
    for subject in UNIVERSE:
        if not (user == "bootstrap" and may_publish(user, subject)):  # it could, and then the streams would be gone
            await bus.connection.publish(subject, b"")
    await bus.connection.round_trip(SOON)
    assert refused == {subject.lower() for subject in UNIVERSE if not may_publish(user, subject)}


FILTERS = sorted(
    {
        *(channel.subject() for channel in CHANNELS),
        *(
            channel.subject(principal=who, pool=pool, token=token)
            for channel in CHANNELS
            for who, pool, token in (("alice", "a", "one"), ("bob", "b", "two"))
        ),
        *(">", "*", "*.>", "writ.>", "writ.*.>", "writ.event.>", "writ.event.op.>", "writ.journal.>", "writ.request.>"),
        *("$JS.>", "$JS.API.>", "$JS.ACK.>", "$JS.EVENT.>", "$SYS.>", "$SYS.ACCOUNT.>", "_R_.>", "_INBOX.>"),
        *(f"_INBOX_{user}.>" for user in USERS),
        *("$SRV.>", "$SRV.PING", "$SRV.PING.policy", "$SRV.PING.policy.x", "$SRV.INFO.agent-a", "$SRV.STATS.executor"),
        *("$KV.>", "$O.>"),
    }
)


def may_listen(user: str, subject: str) -> bool:
    heard = [mine(user, one) for one in CHANNELS if role_of(user) in one.receivers and one.style is not Style.STREAM]
    heard.append(f"_INBOX_{user}.>")
    if user in ("executor", "policy", "audit", "keeper") or user.startswith("agent-"):
        for verb in ("PING", "INFO", "STATS"):
            heard += [f"$SRV.{verb}", f"$SRV.{verb}.{user}", f"$SRV.{verb}.{user}.*"]
    return any(covers(one, subject) for one in heard)


def covers(wide: str, narrow: str) -> bool:
    """Return true if `wide` covers every subject of `narrow`."""
    wide_tokens, narrow_tokens = wide.split("."), narrow.split(".")
    if wide_tokens[-1] == ">":
        wide_tokens.pop()
        narrow_tokens, rest = narrow_tokens[: len(wide_tokens)], narrow_tokens[len(wide_tokens) :]
        if not rest:
            return False
    return len(wide_tokens) == len(narrow_tokens) and all(
        a == b or (a == "*" and b != ">") for a, b in zip(wide_tokens, narrow_tokens, strict=True)
    )


@pytest.mark.parametrize("user", USERS)
async def test_listening_is_refused_unless_it_is_granted(server: WritServer, user: str) -> None:
    bus = await server.bus(user)
    heard: set[str] = set()
    for subject in FILTERS:
        try:
            await bus.connection.unlisten(await bus.connection.listen(subject, lambda message: None))
        except Forbidden:
            continue
        heard.add(subject)
    assert heard == {subject for subject in FILTERS if may_listen(user, subject)}


@pytest.mark.parametrize("user", [one for one in USERS if one not in ("executor", "bootstrap")])
async def test_republished_journal_is_for_executors_alone(server: WritServer, user: str) -> None:
    bus = await server.bus(user)
    for subject in ("writ.event.>", "writ.event.control.>", "writ.event.*.>"):
        with pytest.raises(Forbidden):
            await bus.connection.listen(subject, lambda message: None)


def users_of(roles: tuple[Role, ...]) -> list[str]:
    """Return one user of each of these roles."""
    names = {
        Role.PRINCIPAL: "alice",
        Role.GATEWAY: "mcp",
        Role.AGENT: "agent-a",
        Role.SCANNER: "trivy",
        Role.ENROLLER: "enrol-one",
    }
    return [names.get(role, role.value) for role in roles]


@pytest.mark.parametrize("channel", [one for one in CHANNELS if one.style is Style.REQUEST], ids=lambda one: one.name)
async def test_permitted_requester_gets_an_answer(server: WritServer, channel: Channel) -> None:
    for receiver in users_of(channel.receivers[:1]):
        serving = await (await server.bus(receiver)).serve(service(receiver, mine(receiver, channel), echo))
        for sender in users_of(channel.senders):
            subject = next(one for one in concrete(channel) if may_publish(sender, one))
            answer = await (await server.bus(sender)).request(subject, b"asked", timeout=SOON)
            assert answer.data == b"asked"
        await serving.close()


@pytest.mark.parametrize("channel", [one for one in CHANNELS if one.style is Style.PUBLISH], ids=lambda one: one.name)
async def test_published_message_reaches_its_receivers(server: WritServer, channel: Channel) -> None:
    for receiver in users_of(channel.receivers):
        heard: asyncio.Queue[str] = asyncio.Queue()

        async def hear(message: Message, heard: asyncio.Queue[str] = heard) -> None:
            heard.put_nowait(message.subject)

        subscription = await (await server.bus(receiver)).subscribe(mine(receiver, channel), hear)
        for sender in users_of(channel.senders):
            subject = next(one for one in concrete(channel) if may_publish(sender, one))
            await (await server.bus(sender)).publish(subject, b"")
            async with asyncio.timeout(SOON):
                assert await heard.get() == subject
        await subscription.close()


async def test_agents_report_reaches_audit_and_is_answered_by_executors_alone(server: WritServer) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(message: Message) -> None:
        heard.put_nowait(message.data)

    audit, executor, agent = [await server.bus(user) for user in ("audit", "executor", "agent-a")]
    subscription = await audit.subscribe("writ.report.*", hear, queue="q-audit")
    await audit.connection.round_trip(SOON)
    serving = await executor.serve(service("executor", "writ.report.*", echo))
    answers = await agent.request_many("writ.report.a", b"seen", timeout=1.0)
    assert [answer.data for answer in answers] == [b"seen"]
    async with asyncio.timeout(SOON):
        assert await heard.get() == b"seen"
    await serving.close()
    await subscription.close()


async def test_granted_event_is_written_by_policy_alone(server: WritServer) -> None:
    granted, dispatched = "writ.journal.op.alice.fresh.granted", "writ.journal.op.alice.fresh.dispatched.a.t"
    executor, policy = await server.bus("executor"), await server.bus("policy")
    with pytest.raises(Forbidden):
        await executor.request(granted, b"{}", timeout=SOON)
    for refused in (dispatched, "writ.journal.op.alice.fresh.requested", "writ.journal.control.stop_set"):
        with pytest.raises(Forbidden):
            await policy.request(refused, b"{}", timeout=SOON)
    stored = Entry(subject=granted, data=b"{}", event_id="e", filter="writ.journal.op.alice.fresh.>", expected=0)
    assert await policy.journal.append(stored) > 0


async def test_refused_request_fails_at_once_and_is_reported(server: WritServer) -> None:
    reported: list[tuple[str, str]] = []
    alice: NatsBus = await server.bus("alice", on_violation=lambda verb, subject: reported.append((verb, subject)))
    async with asyncio.timeout(10.0):
        with pytest.raises(Forbidden, match=r"writ\.request\.bob\.x"):
            await alice.request("writ.request.bob.x", b"", timeout=30.0)
        with pytest.raises(Forbidden):
            await alice.subscribe("writ.event.op.bob.>", _unheard)
    assert reported == [("publish", "writ.request.bob.x"), ("subscription", "writ.event.op.bob.>")]


async def _unheard(message: Message) -> None:
    raise AssertionError(message.subject)
