"""A cluster of three real nats-servers with three copies: its leaders are killed under load, its nodes restarted."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from writ_testing.eventually import eventually
from writ_testing.installations.count_load import load
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation
from writ_testing.peers.nats_cluster import Cluster, cluster_for

pytestmark = [pytest.mark.exhaustive, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
ENVIRON = {"WRIT_HEARTBEAT": "0.5", "WRIT_LEASE": "15", "WRIT_RATE": "10000", "WRIT_BURST": "10000"}
TARGETS = [f"web-{number}" for number in range(6)]
TWO = ("--policies", "2", "--audits", "2", "--agents", "2")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Cluster, RunningInstallation, Path]]:
    """A cluster, and an installation with two of each service on it."""
    folder = tmp_path_factory.mktemp("cluster")
    files = folder / "files"
    home = prepare(folder, targets=[local_target(name, files) for name in TARGETS])
    async with cluster_for(home, folder) as cluster:
        environ = {**ENVIRON, "NATS_URL": cluster.url}
        async with running_installation(folder, home=home, executors=2, environ=environ, arguments=TWO) as installation:
            yield cluster, installation, files


async def test_leaders_killed_under_load_fail_lose_and_double_nothing(
    world: tuple[Cluster, RunningInstallation, Path],
) -> None:
    cluster, installation, files = world
    async with await installation.client() as writ:
        async with load(writ, TARGETS, files / "killed", delay=0.05) as ran:
            for _ in range(3):
                leader = await cluster.leader()
                await leader.process.kill()
                await ran.more(len(TARGETS))
                await leader.start()
                await cluster.whole()
                await ran.more(len(TARGETS))
        await ran.check(writ)


async def test_nodes_restarted_one_after_the_other_under_load_fail_lose_and_double_nothing(
    world: tuple[Cluster, RunningInstallation, Path],
) -> None:
    cluster, installation, files = world
    async with await installation.client() as writ:
        async with load(writ, TARGETS, files / "restarted", delay=0.05) as ran:
            for node in cluster.nodes:
                await node.process.stop()
                await node.start()
                await cluster.whole()
                await ran.more(1)
            assert (await installation.writ("restart")).status == 0
            await ran.more(1)
        await ran.check(writ)


async def test_dead_node_makes_the_installation_degraded_until_its_copies_are_current_again(
    world: tuple[Cluster, RunningInstallation, Path],
) -> None:
    cluster, installation, _ = world
    await cluster.whole()
    node = cluster.nodes[2]

    async def names_node() -> bool | None:
        return (f"NATS server {node.name} is down" in (await installation.writ("status")).out) or None

    async def is_ready() -> bool | None:
        return (await installation.writ("status")).status == 0 or None

    await eventually(is_ready, within=60, what="a ready installation")
    await node.process.kill()
    try:
        await eventually(names_node, within=90, what="the dead node in `writ status`")
        assert (await installation.writ("status")).status == 1
    finally:
        await node.start()
    await eventually(is_ready, within=120, what="a ready installation")
