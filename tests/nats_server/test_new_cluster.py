"""The streams of a new cluster of three real servers are made before it has a leader, and then reply to reads."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from writ_bus.errors import BusError, BusRefused, TimedOut, Unreachable
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.nats.jetstream import ApiError, error_of
from writ_installation.files.home import Home
from writ_installation.nats.server import make_streams
from writ_installation.server_access.server_options import options_of
from writ_testing.installations.installation import prepare
from writ_testing.peers.nats_cluster import Cluster, cluster_for

POOLS = ["local"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return prepare(tmp_path)


@pytest.fixture
async def cluster(home: Home, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster_for(home, tmp_path) as cluster:
        try:
            yield cluster
        finally:
            pause(cluster, signal.SIGCONT)


def pause(cluster: Cluster, signal_number: signal.Signals) -> None:
    """Stop or continue two of the servers: the third one has no majority."""
    for node in cluster.nodes[1:]:
        os.kill(node.process.pid, signal_number)


async def read_all(bus: NatsBus) -> None:
    """Read from each stream of the executors, as they do at their start. Raises BusError."""
    assert await bus.journal.read("writ.journal.>") == []
    assert await bus.policies.read("writ.policies.>") == []
    assert await bus.params.get("a.b") is None
    assert await bus.results.get("a.b") is None


async def test_streams_of_a_cluster_are_made_once_it_has_a_majority(home: Home, cluster: Cluster) -> None:
    first, *_ = cluster.nodes
    pause(cluster, signal.SIGSTOP)
    with pytest.raises((TimedOut, Unreachable), match="the NATS servers do not answer for "):
        await make_streams(home, f"nats://127.0.0.1:{first.port}", POOLS, None, patience=0.5)
    making = asyncio.create_task(make_streams(home, f"nats://127.0.0.1:{first.port}", POOLS, None, patience=60.0))
    done, _ = await asyncio.wait({making}, timeout=0.5)
    assert not done
    pause(cluster, signal.SIGCONT)
    await making


@pytest.mark.parametrize(
    ("reason", "expected"),
    [(", peer offline", Unreachable), (", insufficient storage", BusRefused), ("", BusRefused)],
)
def test_placement_without_a_server_that_is_offline_is_tried_again(reason: str, expected: type[BusError]) -> None:
    """The leader of a new cluster takes servers for offline until their first report."""
    error = ApiError(code=400, err_code=10005, description=f"no suitable peers for placement{reason}")
    assert type(error_of(error, "STREAM.CREATE")) is expected


async def test_new_streams_answer_reads_over_each_server(home: Home, cluster: Cluster) -> None:
    buses = [
        await connect(options_of(home, "executor", f"nats://127.0.0.1:{node.port}", None)) for node in cluster.nodes
    ]
    await make_streams(home, cluster.url, POOLS, None)
    await asyncio.gather(*map(read_all, buses))
    await asyncio.gather(*(bus.close() for bus in buses))
