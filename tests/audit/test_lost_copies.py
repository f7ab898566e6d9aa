"""A real server that stands still while an archive is removed from the journal loses events of its copy: it is named.

NATS applies changes of a stream's configuration independently of its messages, and calls such a copy current.
"""

import asyncio
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
from tests.nats_server.test_cluster_generations import append, connected, follower

from writ_audit import servers
from writ_audit.metrics import metrics
from writ_audit.servers import Servers
from writ_bus.nats.bus import NatsBus
from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import encode
from writ_installation.files.home import Home
from writ_installation.nats.server import make_streams, sizes
from writ_nats_server import journal_generations, streams
from writ_nats_server.configuration_barrier import applied_by_all
from writ_nats_server.journal_generations import JournalStreamState
from writ_testing.eventually import eventually
from writ_testing.installations.installation import prepare
from writ_testing.peers.nats_cluster import Cluster, ClusterNode, cluster_for

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(180)]
FIRST, LAST = 1, 10
"""The archived events."""


async def announce(executor: NatsBus) -> None:
    """Announce the archive, as an executor does once it is decided; no reader here verifies the signature."""
    event = ControlEvent(
        id="e1",
        at=0.0,
        correlation_id="c1",
        kind="journal_archive",
        principal="operator",
        operation_id="o1",
        body={"generation": 1, "first": FIRST, "last": LAST, "digest": "0" * 64},
    )
    subject = subjects.control_event("journal_archive")
    await executor.journal.append(Entry(subject=subject, data=encode(event), event_id="e1", filter=subject, expected=0))


async def taken_out(home: Home, cluster: Cluster, late: ClusterNode) -> JournalStreamState:
    """Remove the archived events while one server stands still, from their removal until new events are stored."""
    leader = await cluster.leader()
    bootstrap, executor = await connected(home, leader, "bootstrap"), await connected(home, leader, "executor")
    await append(executor, 1, 20)
    await announce(executor)
    await cluster.whole()

    def step(done: str) -> None:
        if done == "journal.shortened":
            os.kill(late.process.pid, signal.SIGSTOP)

    try:
        state = await journal_generations.take_out(bootstrap.replies, sizes(home), FIRST, LAST, step)
        await append(executor, 21, 20)
    finally:
        os.kill(late.process.pid, signal.SIGCONT)
    await bootstrap.close()
    await executor.close()
    return state


async def test_server_whose_copy_lost_events_is_named_until_it_started_with_an_empty_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "applied_by_all", partial(applied_by_all, within=1.0))
    monkeypatch.setattr(servers, "EVERY", 0.1)
    home, shown = prepare(tmp_path), Servers(metrics())
    async with cluster_for(home, tmp_path) as cluster:
        await make_streams(home, cluster.url, [], None)
        late = await follower(cluster)
        assert not (await taken_out(home, cluster, late)).applied
        other = next(node for node in cluster.nodes if node is not late)
        watching = asyncio.create_task(shown.watch(await connected(home, other, "audit")))

        async def is_named() -> bool:
            return f"NATS server {late.name} lacks events {LAST + 1} to " in (await shown.check() or "")

        await eventually(is_named, within=60, what="the server that lost events")
        await late.process.stop()
        shutil.rmtree(tmp_path / late.name)
        await late.start()

        async def is_whole() -> bool:
            return await shown.check() is None

        await eventually(is_whole, within=60, what="whole copies")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_whole_copies_after_an_archive_are_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "EVERY", 0.1)
    home, measured = prepare(tmp_path), metrics()
    shown = Servers(measured)
    async with cluster_for(home, tmp_path) as cluster:
        await make_streams(home, cluster.url, [], None)
        leader = await cluster.leader()
        bootstrap, executor = await connected(home, leader, "bootstrap"), await connected(home, leader, "executor")
        await append(executor, 1, 20)
        await announce(executor)
        await cluster.whole()
        state = await journal_generations.take_out(bootstrap.replies, sizes(home), FIRST, LAST)
        assert state.applied
        watching = asyncio.create_task(shown.watch(await connected(home, leader, "audit")))

        async def is_shown() -> bool:
            return b'writ_nats_copies_behind{server="' in measured.exposition()[0] and await shown.check() is None

        await eventually(is_shown, within=60, what="figures without a problem")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await bootstrap.close()
        await executor.close()
