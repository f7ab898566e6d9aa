"""A real server that hears late of the end of an archive's removal loses events of its journal: it is named.

NATS applies changes of a stream's configuration independently of its messages, and calls such a copy current. The
servers learn these changes from the leader of the cluster, and the messages from the leader of the stream.
"""

import asyncio
import shutil
from functools import partial
from pathlib import Path

import pytest
from tests.nats_server.test_cluster_generations import append, connected

from writ_audit import servers
from writ_audit.metrics import metrics
from writ_audit.servers import Servers
from writ_bus.nats.bus import NatsBus
from writ_bus.nats.jetstream import call
from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.journal import ControlEvent
from writ_contracts.subjects import JOURNAL_STREAM
from writ_contracts.wire import encode
from writ_installation.files.home import Home
from writ_installation.nats.server import make_streams
from writ_installation.nats.stream_sizes import sizes
from writ_nats_server import journal_generations, streams
from writ_nats_server.configuration_barrier import applied_by_all
from writ_testing.eventually import eventually
from writ_testing.installations.installation import prepare
from writ_testing.peers.links import Links, running_links
from writ_testing.peers.nats_cluster import Cluster, ClusterNode, cluster_for

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(180)]
FIRST, LAST = 1, 10
"""The archived events."""
END = 41
"""The last event: twenty before the archive, its announcement, and twenty after it."""


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


async def leaders(cluster: Cluster) -> tuple[ClusterNode, ClusterNode]:
    """Return the leader of the journal, and another server that leads the cluster."""

    async def check() -> tuple[ClusterNode, ClusterNode] | None:
        leader, name = await cluster.leader(), (await cluster.nodes[0].jetstream()).get("leader")
        others = [node for node in cluster.nodes if node.name == name and node is not leader]
        return (leader, others[0]) if others else None

    return await eventually(check, within=60, what="two leaders")


async def taken_out(home: Home, cluster: Cluster, links: Links) -> ClusterNode:
    """Remove the archived events. Return a server that stores new events while it does not know yet that the journal
    has its usual limit again.
    """
    first = await cluster.leader()
    bootstrap, executor = await connected(home, first, "bootstrap"), await connected(home, first, "executor")
    await append(executor, 1, 20)
    await announce(executor)
    await cluster.whole()
    if (await cluster.nodes[0].jetstream())["leader"] == first.name:
        await call(bootstrap.replies, f"STREAM.LEADER.STEPDOWN.{JOURNAL_STREAM}", {})
    leader, of_cluster = await leaders(cluster)
    late = next(node for node in cluster.nodes if node not in (leader, of_cluster))
    await journal_generations._shortened(bootstrap.replies, LAST, lambda _: None)

    async def is_shortened() -> bool:
        copy = await late.stream(JOURNAL_STREAM)
        return copy is not None and bool(copy["config"]["max_msgs"] > 0)

    await eventually(is_shortened, within=60, what="the shorter limit")
    links.fail(late.name, f"{of_cluster.name}.route", "silent")
    links.fail(of_cluster.name, f"{late.name}.route", "silent")
    try:
        assert not await streams.restore_journal_configuration(bootstrap.replies, sizes(home))
        await append(executor, 21, 20)

        async def has_all() -> bool:
            copy = await late.stream(JOURNAL_STREAM)
            return copy is not None and bool(copy["state"]["last_seq"] == END)

        await eventually(has_all, within=60, what="the new events")
    finally:
        links.heal()
    await bootstrap.close()
    await executor.close()
    return late


async def test_server_whose_copy_lost_events_is_named_until_it_started_with_an_empty_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "applied_by_all", partial(applied_by_all, within=0.0))
    monkeypatch.setattr(servers, "EVERY", 0.1)
    home, shown = prepare(tmp_path), Servers(metrics())

    def names() -> dict[int, str]:
        return cluster.pids()

    async with (
        running_links(names) as links,
        cluster_for(home, tmp_path, links=links) as cluster,
    ):
        await make_streams(home, cluster.url, [], None)
        late = await taken_out(home, cluster, links)
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
