"""The copies of a journal on three real servers lose the archived events and no others, though one server is slow."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from writ_bus.errors import BusRefused
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.nats.jetstream import call
from writ_bus.port import Entry
from writ_contracts.subjects import JOURNAL_CLOSED, JOURNAL_STREAM
from writ_installation.files.home import Home
from writ_installation.nats.server import make_streams
from writ_installation.nats.stream_sizes import sizes
from writ_installation.server_access.server_options import options_of
from writ_nats_server import journal_generations, streams
from writ_nats_server.configuration_barrier import applied_by_all
from writ_testing.eventually import eventually
from writ_testing.installations.installation import prepare
from writ_testing.peers.nats_cluster import Cluster, ClusterNode, cluster_for

pytestmark = pytest.mark.timeout(120)
PAUSED = 1.5
"""Seconds: less than NATS needs to take a server for lost."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take longer than the product waits for its servers."""
    monkeypatch.setattr(journal_generations, "IN_STEP_WITHIN", 60.0)
    monkeypatch.setattr(streams, "applied_by_all", partial(applied_by_all, within=60.0))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return prepare(tmp_path)


@pytest.fixture
async def cluster(home: Home, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster_for(home, tmp_path) as cluster:
        await make_streams(home, cluster.url, [], None)
        yield cluster


async def follower(cluster: Cluster) -> ClusterNode:
    """Return a server that leads neither the journal nor the cluster."""
    leaders = {(await cluster.leader()).name, (await cluster.nodes[0].jetstream())["leader"]}
    return next(node for node in cluster.nodes if node.name not in leaders)


async def connected(home: Home, node: ClusterNode, role: str) -> NatsBus:
    return await connect(options_of(home, role, f"nats://127.0.0.1:{node.port}", None))


async def append(bus: NatsBus, first: int, count: int) -> None:
    for number in range(first, first + count):
        subject = f"writ.journal.security.{number}"
        await bus.journal.append(
            Entry(subject=subject, data=b"x" * 500, event_id=f"{number}", filter=subject, expected=0)
        )


async def copies_are(cluster: Cluster, first: int, last: int) -> None:
    """Wait until each server's copy of the journal has the events from `first` to `last`."""
    found: list[tuple[int, int]] = []

    async def is_complete() -> bool:
        states = [(await node.stream(JOURNAL_STREAM) or {}).get("state", {}) for node in cluster.nodes]
        found[:] = [(state.get("first_seq", 0), state.get("last_seq", 0)) for state in states]
        return all(end == last for _, end in found)

    await eventually(is_complete, within=60, what="complete copies")
    assert found == [(first, last)] * len(cluster.nodes)


async def test_server_that_applies_the_configuration_late_keeps_each_remaining_event(
    home: Home, cluster: Cluster
) -> None:
    leader, late = await cluster.leader(), await follower(cluster)
    bootstrap, executor = await connected(home, leader, "bootstrap"), await connected(home, leader, "executor")
    await append(executor, 1, 20)
    await cluster.whole()
    loop = asyncio.get_running_loop()

    def step(done: str) -> None:
        if done == "journal.shortened":
            os.kill(late.process.pid, signal.SIGSTOP)
            loop.call_later(PAUSED, os.kill, late.process.pid, signal.SIGCONT)

    await journal_generations.take_out(bootstrap.replies, sizes(home), 1, 10, step)
    await append(executor, 21, 20)
    await copies_are(cluster, 11, 40)
    await bootstrap.close()
    await executor.close()


async def test_journal_whose_limit_an_earlier_attempt_lifted_is_opened_once_each_server_has_applied_that(
    home: Home, cluster: Cluster
) -> None:
    """As after an update of the stream without a reply."""
    leader, late = await cluster.leader(), await follower(cluster)
    bootstrap, executor = await connected(home, leader, "bootstrap"), await connected(home, leader, "executor")
    await append(executor, 1, 20)
    await cluster.whole()
    (own,) = (one for one in streams.streams(sizes(home)) if one["name"] == JOURNAL_STREAM)
    there = (await call(bootstrap.replies, f"STREAM.INFO.{JOURNAL_STREAM}", {}))["config"]
    lifted = {**there, **own, "subjects": [JOURNAL_CLOSED]}
    await call(bootstrap.replies, f"STREAM.UPDATE.{JOURNAL_STREAM}", {**lifted, "discard": "old", "max_msgs": 10})
    await cluster.whole()
    os.kill(late.process.pid, signal.SIGSTOP)
    asyncio.get_running_loop().call_later(PAUSED, os.kill, late.process.pid, signal.SIGCONT)
    await call(bootstrap.replies, f"STREAM.UPDATE.{JOURNAL_STREAM}", lifted)
    await streams.restore_journal_configuration(bootstrap.replies, sizes(home))
    await append(executor, 21, 20)
    await copies_are(cluster, 11, 40)
    await bootstrap.close()
    await executor.close()


async def test_server_that_does_not_reply_is_reported_and_keeps_no_journal_closed(home: Home, cluster: Cluster) -> None:
    leader, silent = await cluster.leader(), await follower(cluster)
    bootstrap, executor = await connected(home, leader, "bootstrap"), await connected(home, leader, "executor")
    assert await applied_by_all(bootstrap.replies, JOURNAL_STREAM, 3, within=60.0)
    os.kill(silent.process.pid, signal.SIGSTOP)
    assert not await applied_by_all(bootstrap.replies, JOURNAL_STREAM, 3, within=1.0)
    os.kill(silent.process.pid, signal.SIGCONT)
    assert await applied_by_all(bootstrap.replies, JOURNAL_STREAM, 3, within=60.0)
    listed = await call(bootstrap.replies, f"CONSUMER.NAMES.{JOURNAL_STREAM}", {})
    assert listed["consumers"] in ([], None)
    await append(executor, 1, 1)
    await bootstrap.close()
    await executor.close()


async def test_journal_is_opened_although_nats_makes_no_consumer(home: Home, cluster: Cluster) -> None:
    bootstrap = await connected(home, await cluster.leader(), "bootstrap")
    with pytest.raises(BusRefused):  # a stream with three copies has no consumer with five
        await call(bootstrap.replies, f"CONSUMER.CREATE.{JOURNAL_STREAM}.x", consumer_of(5))
    assert not await applied_by_all(bootstrap.replies, JOURNAL_STREAM, 5, within=0.5)
    await bootstrap.close()


def consumer_of(copies: int) -> dict[str, object]:
    config = {"name": "x", "ack_policy": "none", "deliver_policy": "new", "num_replicas": copies}
    return {"stream_name": JOURNAL_STREAM, "config": config, "action": ""}
