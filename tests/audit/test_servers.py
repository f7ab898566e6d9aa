"""Audit's gauges of the NATS servers: what a real one says, and nothing once it says no more."""

import asyncio
from pathlib import Path

import pytest

from writ_audit import servers
from writ_audit.metrics import metrics
from writ_audit.servers import CONSUMERS, Servers
from writ_bus.nats.monitoring import Consumer, ServerFigures
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
        told = await eventually(lambda: _all(measured))
        assert told[CONNECTIONS] >= 1
        assert told[JOURNALS_CONSUMERS] == 2
        assert told[PENDING] == 0
        await server.process.stop()
        assert await eventually(lambda: _none(measured)) == {"writ_nats_servers": 0}
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _all(measured: Metrics) -> dict[str, float] | None:
    """Once it has answered every question: it is asked several, and one answer may come too late."""
    told = rows(measured)
    return told if {CONNECTIONS, JOURNALS_CONSUMERS, PENDING} <= told.keys() else None


async def _none(measured: Metrics) -> dict[str, float] | None:
    told = rows(measured)
    return told if told.get("writ_nats_servers") == 0 and len(told) == 1 else None


def test_consumers_beyond_the_bound_share_one_series() -> None:
    measured = metrics()
    many = [Consumer(name=f"agent-{number}", num_pending=1) for number in range(CONSUMERS + 20)]
    Servers(measured).show(ServerFigures(servers=[], streams=[], consumers=many))
    told = rows(measured)
    assert told['writ_nats_consumer_pending_messages{consumer="other"}'] == 20
    assert len([name for name in told if "pending" in name]) == CONSUMERS + 1
