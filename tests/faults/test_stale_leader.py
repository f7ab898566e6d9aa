"""Three nats-servers with three copies: the leader is parted from the others while clients still reach it.

For some seconds there are two leaders. The old leader never acknowledges its new messages, and loses them once it
follows.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.faults.test_kills import ENVIRON
from tests.faults.test_partitions import STARTED_OR_NOT, TARGETS, Round, by_client, passed

from writ_contracts.subjects import JOURNAL_STREAM
from writ_testing.eventually import eventually
from writ_testing.installations.installation import local_target, prepare
from writ_testing.installations.linked_installation import LinkedInstallation, linked_installation
from writ_testing.peers.links import Fault
from writ_testing.peers.nats_cluster import NODES, ClusterNode

pytestmark = [pytest.mark.exhaustive, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]
TWO = ("--policies", "2", "--audits", "2", "--agents", "2")
PARTED = 15.0
"""Seconds: the others elect a leader after four to nine."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def linked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LinkedInstallation]:
    """Two of each service on three servers, each with links of its own to clients and to the other servers."""
    folder = tmp_path_factory.mktemp("leaders")
    home = prepare(folder, targets=[local_target(f"web-{number}", folder / "files") for number in range(TARGETS)])
    environ = {**ENVIRON, "WRIT_LEASE": "5"}
    async with linked_installation(folder, home, servers=NODES, environ=environ, arguments=TWO) as linked:
        yield linked


def part(linked: LinkedInstallation, node: ClusterNode, fault: Fault) -> None:
    """Part one server from the other two; clients still reach all three."""
    linked.links.fail(node.name, "*.route", fault)
    linked.links.fail("n?", f"{node.name}.route", fault)


async def another_leads(linked: LinkedInstallation, former: ClusterNode) -> None:
    async def check() -> bool:
        for node in linked.cluster.nodes:
            stream = await node.stream(JOURNAL_STREAM) if node is not former else None
            if stream and stream["cluster"].get("leader") not in (None, "", former.name):
                return True
        return False

    await eventually(check, within=120, what="another leader")


async def ends_alike(linked: LinkedInstallation) -> None:
    """Wait until every copy has the same first and last event and number of events."""

    async def check() -> bool:
        found = [await node.stream(JOURNAL_STREAM) for node in linked.cluster.nodes]
        states = {
            (one["state"]["first_seq"], one["state"]["last_seq"], one["state"]["messages"]) for one in found if one
        }
        return None not in found and len(states) == 1

    await eventually(check, within=120, what="copies that are alike")


@pytest.mark.parametrize("fault", ["silent", "cut", "no_answers"])
async def test_stale_leader_loses_doubles_and_falsifies_nothing(linked: LinkedInstallation, fault: Fault) -> None:
    path: Path = linked.installation.home.root.parent / "files" / f"counted-{fault}"
    await linked.cluster.whole()
    former = await linked.cluster.leader()
    async with by_client(linked) as (writ, ask):
        ran = Round(writ, ask, fault, path)
        ran.request(2 * TARGETS, delay=1.0)
        await ran.effects(2)
        part(linked, former, fault)
        try:
            ran.request(2 * TARGETS, delay=1.0)
            if fault != "no_answers":  # which the others may take for a leader that is slow
                await another_leads(linked, former)
            await passed(PARTED)
        finally:
            linked.links.heal()
        ran.request(TARGETS)
        await ran.end()
        await linked.cluster.whole()
        outcomes = await ran.check()
        await linked.well()
    await ends_alike(linked)
    assert set(outcomes) <= STARTED_OR_NOT, outcomes
    assert outcomes["succeeded"] >= TARGETS, outcomes
