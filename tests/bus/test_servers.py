"""Audit alone can query NATS servers about themselves; the server here is real."""

import asyncio
from pathlib import Path

import pytest
from msgspec import json

from writ_bus.errors import BusRefused, Forbidden
from writ_bus.nats import monitoring
from writ_bus.nats.monitoring import ServerFigures, figures
from writ_bus.port import Entry, Message
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus
from writ_testing.peers.nats_server import writ_server

SUBJECT = "writ.journal.op.alice.o1.dispatched.a.web-1"


async def test_connections_streams_and_consumers_are_reported_as_they_are(tmp_path: Path) -> None:
    async with writ_server(tmp_path) as server:
        audit = await server.bus("audit")

        async def alone() -> ServerFigures | None:
            """Return the figures once the server has dropped the client which made the streams."""
            observed = await figures(audit)
            return observed if [one.connections for one in observed.servers] == [1] else None

        async def whole() -> ServerFigures | None:
            observed = await figures(audit)
            return observed if observed.servers and observed.streams and observed.consumers else None

        first = await eventually(alone)
        executor = await server.bus("executor")
        entry = Entry(subject=SUBJECT, data=b"x" * 100, event_id="e1", filter=SUBJECT, expected=0)
        await executor.journal.append(entry)
        then = await eventually(whole)
    (before,), (after,) = first.servers, then.servers
    assert (before.server_name, after.connections) == ("writ", before.connections + 1)
    assert (after.slow_consumers, after.mem > 1_000_000) == (0, True)
    assert {one.name for one in then.streams} == {f"WRIT_{name}" for name in servers_streams()}
    (journal,) = (one for one in then.streams if one.name == "WRIT_JOURNAL")
    assert (journal.state.messages, journal.state.consumer_count) == (1, len(then.consumers))
    assert journal.state.bytes > 100
    assert {one.name: one.num_pending for one in then.consumers} == {"agent-a": 1, "agent-b": 0}


def servers_streams() -> tuple[str, ...]:
    return ("JOURNAL", "POLICIES", "SCANS", "PARAMS", "RESULTS")


async def test_many_consumers_are_counted_and_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "MOST_CONSUMERS", 1)
    async with writ_server(tmp_path) as server:
        audit = await server.bus("audit")

        async def counted() -> ServerFigures | None:
            observed = await figures(audit)
            return observed if observed.streams else None

        observed = await eventually(counted)
    assert observed.consumers == []
    assert max(one.state.consumer_count for one in observed.streams) == 2


@pytest.mark.parametrize("who", ["executor", "policy", "status", "agent-a", "alice"])
async def test_servers_answer_audit_alone(tmp_path: Path, who: str) -> None:
    async with writ_server(tmp_path) as server:
        with pytest.raises(Forbidden):
            await figures(await server.bus(who))


async def test_figures_are_empty_without_an_answer_of_a_server() -> None:
    observed = await figures(MemoryBus())
    assert (observed.servers, observed.streams, observed.consumers) == ([], [], [])


async def test_figures_of_a_replicated_stream_are_the_leaders(monkeypatch: pytest.MonkeyPatch) -> None:
    def server_reply(server: str, messages: int, subject: str) -> bytes:
        copies = [{"name": one, "current": server == "n2", "offline": one == "n3"} for one in ("n1", "n3")]
        group = {"leader": "n2", "replicas": copies}
        stream = {"name": "WRIT_JOURNAL", "cluster": group, "state": {"messages": messages}}
        consumer = {"name": "agent-a", "cluster": {"leader": "n1"}, "num_pending": messages}
        details = [{"stream_detail": [{**stream, "consumer_detail": [consumer]}]}]
        state = {"server_name": server, "connections": 3}
        data = state if subject == monitoring.STATE else {"consumers": 1, "account_details": details}
        return json.encode({"server": {"name": server}, "data": data})

    bus = MemoryBus()

    async def three(subject: str, data: bytes, *, timeout: float, headers: object = None) -> list[Message]:
        return [Message(subject, server_reply(f"n{number}", number, subject)) for number in (1, 2, 3)]

    monkeypatch.setattr(bus, "request_many", three)
    observed = await figures(bus)
    assert [one.server_name for one in observed.servers] == ["n1", "n2", "n3"]
    assert [one.state.messages for one in observed.streams] == [2]
    assert [one.num_pending for one in observed.consumers] == [1]
    (group,) = (one.cluster for one in observed.streams)
    assert group is not None
    assert [(one.name, one.current, one.offline) for one in group.replicas] == [("n1", True, False), ("n3", True, True)]


async def test_reply_of_another_than_a_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = MemoryBus()

    async def odd(*_: object, **__: object) -> list[Message]:
        return [Message("x", b"{}")]

    monkeypatch.setattr(bus, "request_many", odd)
    with pytest.raises(BusRefused, match=r"writ\.api\.servers\.state"):
        await asyncio.wait_for(figures(bus), 30)
