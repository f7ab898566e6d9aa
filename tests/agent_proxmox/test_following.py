"""Faults while a task runs: it began, so no error of a read makes its outcome a refusal without effect."""

import asyncio

import pytest
from tests.agent_proxmox.cluster import Cluster

from writ_agent_proxmox.operations import movement
from writ_agent_proxmox.tasks import work
from writ_agent_proxmox.tasks.guests import Guest
from writ_contracts.errors import Unreachable
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.peers.proxmox import ProxmoxFault

START = "/status/start"
STATUS = "/status"


async def begun(cluster: Cluster) -> bool:
    return cluster.server.calls("POST", START) == 1


@pytest.mark.parametrize("status", some([500, 595, 596, 400], 500, 595))
async def test_a_status_that_is_refused_for_a_moment_is_read_again(cluster: Cluster, status: int) -> None:
    cluster.server.pve.faults.append(ProxmoxFault("GET", STATUS, status, "", times=3))
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.effect) == ("succeeded", "done")


async def test_a_status_that_stays_refused_leaves_the_outcome_unknown(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "UNKNOWN_TASK_SECONDS", 0.3)
    cluster.server.pve.faults.append(ProxmoxFault("GET", STATUS, 500, "", times=1000))
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.code, done.effect, done.over) == ("unknown", "task_unknown", "maybe", False)


async def test_a_certificate_that_changes_while_a_task_runs_leaves_the_outcome_unknown(cluster: Cluster) -> None:
    pve = cluster.server.pve
    pve.time_scale, cluster.web.start_secs = 1.0, 5
    running = asyncio.create_task(cluster.done("container_start", container_name="web"))
    await eventually(lambda: begun(cluster))
    cluster.server.stop()
    cluster.server.start("another")
    done = await running
    assert (done.outcome, done.code, done.effect, done.over) == ("unknown", "task_unknown", "maybe", False)
    assert "certificate" in done.message


@pytest.mark.parametrize("status", some([400, 403, 500], 400))
async def test_a_log_that_cannot_be_read_changes_no_outcome(cluster: Cluster, status: int) -> None:
    cluster.server.pve.faults.append(ProxmoxFault("GET", "/log", status, "", times=1000))
    cluster.server.pve.exits["qmstart"] = "WARNINGS: 1"
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.state["warnings"]) == ("succeeded", 1)


@pytest.mark.parametrize("status", some([401, 403, 500, 596], 403))
async def test_a_task_list_that_is_refused_after_a_change_leaves_the_outcome_unknown(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(work, "SEARCH_SECONDS", 0.3)
    cluster.server.pve.faults += [
        ProxmoxFault("POST", START, 596),
        ProxmoxFault("GET", "/tasks", status, "", times=1000, skip=1),
    ]
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.code, done.effect, done.over) == ("unknown", "no_reply", "maybe", False)
    assert cluster.server.calls("POST", START) == 1


async def test_a_change_whose_result_cannot_be_read_afterwards_is_a_success(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [8.0]

    async def once(of: work.GuestWork, guest: Guest, disk: str) -> float:
        if not sizes:
            raise Unreachable("the node went away", code="node_offline")
        return sizes.pop()

    monkeypatch.setattr(movement, "_size", once)
    done = await cluster.done("guest_resize", guest_name="web", disk="scsi0", size=16)
    assert (done.outcome, done.effect) == ("succeeded", "done")
    assert "but the result could not be read: the node went away" in done.message
    assert "size=16G" in cluster.web.config["scsi0"]
