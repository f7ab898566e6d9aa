"""Audit's gauges of NATS servers show a real server's figures, and none once it is silent."""

import asyncio
from pathlib import Path

import pytest

from writ_audit import servers
from writ_audit.metrics import metrics
from writ_audit.servers import CONSUMERS, Servers
from writ_bus.nats.monitoring import ConsumerProgress, CopyGroup, ServerFigures, Stream, StreamCopy, StreamState
from writ_runtime.health import Attention
from writ_runtime.metrics import Metrics
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import writ_server

CONNECTIONS = 'writ_nats_connections{server="writ"}'
JOURNALS_CONSUMERS = 'writ_nats_stream_consumers{stream="WRIT_JOURNAL"}'
PENDING = 'writ_nats_consumer_pending_messages{consumer="agent-a"}'


def rows(measured: Metrics) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in measured.exposition()[0].decode().splitlines())
    return {name: float(value) for name, _, value in lines if name.startswith("writ_nats")}


async def test_gauges_of_a_server_are_removed_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "EVERY", 0.05)
    measured = metrics()
    shown = Servers(measured)
    async with writ_server(tmp_path) as server:
        watching = asyncio.create_task(shown.watch(await server.bus("audit")))
        reported = await eventually(lambda: _all(measured))
        assert reported[CONNECTIONS] >= 1
        assert reported[JOURNALS_CONSUMERS] == 2
        assert reported[PENDING] == 0
        await server.process.stop()
        assert await eventually(lambda: _none(measured)) == {"writ_nats_servers": 0}
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _all(measured: Metrics) -> dict[str, float] | None:
    """Wait until it has answered every question: there are several, and one answer may come too late."""
    reported = rows(measured)
    return reported if {CONNECTIONS, JOURNALS_CONSUMERS, PENDING} <= reported.keys() else None


async def _none(measured: Metrics) -> dict[str, float] | None:
    reported = rows(measured)
    return reported if reported.get("writ_nats_servers") == 0 and len(reported) == 1 else None


def test_consumers_beyond_the_bound_share_one_series() -> None:
    measured = metrics()
    many = [ConsumerProgress(name=f"agent-{number}", num_pending=1) for number in range(CONSUMERS + 20)]
    Servers(measured).show(ServerFigures(servers=[], streams=[], consumers=many))
    reported = rows(measured)
    assert reported['writ_nats_consumer_pending_messages{consumer="other"}'] == 20
    assert len([name for name in reported if "pending" in name]) == CONSUMERS + 1


def journal_with(*copies: StreamCopy) -> ServerFigures:
    """Return the figures of a journal that n1 leads."""
    group = CopyGroup(leader="n1", replicas=list(copies))
    return ServerFigures(
        servers=[], streams=[Stream(name="WRIT_JOURNAL", state=StreamState(), cluster=group)], consumers=[]
    )


CURRENT = StreamCopy(name="n2", current=True)


async def test_server_of_a_cluster_that_is_down_is_named_at_once_and_no_longer_once_its_copy_is_current() -> None:
    measured = metrics()
    shown = Servers(measured)
    shown.show(journal_with(CURRENT, StreamCopy(name="n3", offline=True)))
    problem = await shown.check()
    assert isinstance(problem, Attention)
    assert problem == "NATS server n3 is down or catches up: it has no current copy of WRIT_JOURNAL"
    assert copies_behind(measured) == {"n2": 0, "n3": 1}
    shown.show(journal_with(CURRENT, StreamCopy(name="n3", current=True)))
    assert await shown.check() is None
    assert copies_behind(measured) == {"n2": 0, "n3": 0}


async def test_copy_that_is_behind_counts_from_the_second_query_on() -> None:
    measured = metrics()
    shown = Servers(measured)
    late = journal_with(CURRENT, StreamCopy(name="n3"))
    shown.show(late)
    assert await shown.check() is None
    shown.show(late)
    assert "n3" in (await shown.check() or "")
    assert copies_behind(measured) == {"n2": 0, "n3": 1}
    shown.show(journal_with(CURRENT, StreamCopy(name="n3", current=True)))
    shown.show(late)
    assert await shown.check() is None


async def test_stream_of_one_server_lacks_no_copy() -> None:
    measured = metrics()
    shown = Servers(measured)
    shown.show(ServerFigures(servers=[], streams=[Stream(name="WRIT_JOURNAL", state=StreamState())], consumers=[]))
    assert await shown.check() is None
    assert copies_behind(measured) == {}


def copies_behind(measured: Metrics) -> dict[str, float]:
    return {name.split('"')[1]: value for name, value in rows(measured).items() if "copies_behind" in name}
