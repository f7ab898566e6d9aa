"""Guests under high availability: a task passes the request to the manager, and the guest changes later."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from tests.agent_proxmox.cluster import WEB, Cluster

from writ_agent.backends.port import TaskResult
from writ_agent.work.running import RunningOperation
from writ_agent_proxmox.operations import power
from writ_agent_proxmox.tasks.task_notes import Note
from writ_testing.eventually import eventually
from writ_testing.peers.proxmox import ProxmoxFault
from writ_testing.suites.backend import ProgressRecorder

ON_ANOTHER = "/pve2/qemu/100/status/current"


@pytest.fixture
def managed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The guest `web` is managed, in a cluster of two nodes."""
    monkeypatch.setattr(power, "HA_PAUSE", 0.05)
    cluster.server.do(lambda pve: pve.managed.update({WEB}))
    cluster.server.do(lambda pve: pve.add_node("pve2"))
    return cluster


def change(cluster: Cluster, **settings: Any) -> None:
    """Change the guest as the manager would."""
    cluster.server.do(lambda _: vars(cluster.web).update(settings))


async def seen(cluster: Cluster, suffix: str, times: int = 1) -> bool:
    return cluster.server.calls("GET", suffix) >= times


async def timed_out(cluster: Cluster, read: str, times: int, name: str, **parameters: Any) -> TaskResult:
    """Return the outcome of an operation whose time is over after so many reads of this path."""
    task = replace(cluster.task(name, **parameters), timeout=100.0)
    operation = RunningOperation(cluster.backend, task, ProgressRecorder(), 1.0)
    waiting = asyncio.create_task(operation.wait())
    await eventually(lambda: seen(cluster, read, times))
    await operation.stop("timeout")
    return await waiting


async def test_managed_guest_that_starts_on_another_node_is_followed_there(managed: Cluster) -> None:
    running = asyncio.create_task(managed.done("container_start", container_name="web"))
    await eventually(lambda: seen(managed, "/pve1/qemu/100/status/current", 2))
    change(managed, node="pve2")
    await eventually(lambda: seen(managed, ON_ANOTHER))
    assert not running.done()
    change(managed, status="running")
    done = await running
    assert (done.outcome, done.message, done.output["state"]) == ("succeeded", "", "running")


async def test_managed_guest_whose_node_is_away_is_waited_for(managed: Cluster) -> None:
    running = asyncio.create_task(managed.done("container_start", container_name="web"))
    await eventually(lambda: seen(managed, "/status/current", 2))
    before = managed.server.calls("GET", "/status/current")
    managed.server.do(lambda pve: pve.nodes["pve1"].update(online=False))
    await eventually(lambda: seen(managed, "/status/current", before + 3))
    assert not running.done()
    change(managed, node="pve2", status="running")
    assert (await running).outcome == "succeeded"


async def test_managed_guest_that_is_not_started_in_time_is_unknown_and_says_its_state(managed: Cluster) -> None:
    done = await timed_out(managed, "/status/current", 2, "container_start", container_name="web")
    assert (done.outcome, done.code, done.effect) == ("unknown", "timeout", "maybe")
    assert "the guest is stopped so far" in done.message


async def test_cancel_does_not_end_what_the_manager_goes_on_to_do(managed: Cluster) -> None:
    task = replace(managed.task("container_start", container_name="web"), timeout=100.0)
    operation = RunningOperation(managed.backend, task, ProgressRecorder(), 1.0)
    waiting = asyncio.create_task(operation.wait())
    await eventually(lambda: seen(managed, "/status/current", 2))
    await operation.stop("cancel")
    assert not operation.known  # the reply to the cancel is `not_confirmed`
    done = await waiting
    assert (done.outcome, done.effect, done.over) == ("unknown", "maybe", False)
    assert "the manager for high availability has the request; the guest is stopped so far" in done.message


async def test_managed_guest_has_moved_only_once_it_is_on_the_other_node(managed: Cluster) -> None:
    done = await timed_out(managed, "/cluster/resources", 2, "guest_migrate", guest_name="web", node="pve2")
    assert (done.outcome, done.code) == ("unknown", "timeout")
    assert "the guest is on pve1 so far" in done.message
    before = managed.server.calls("GET", "/cluster/resources")
    running = asyncio.create_task(managed.done("guest_migrate", guest_name="web", node="pve2"))
    await eventually(lambda: seen(managed, "/cluster/resources", before + 3))
    assert not running.done()
    change(managed, node="pve2")
    done = await running
    assert (done.outcome, done.output["node"]) == ("succeeded", "pve2")


async def test_request_to_the_manager_is_unknown_where_the_guest_cannot_be_read_afterwards(managed: Cluster) -> None:
    managed.server.pve.faults.append(ProxmoxFault("GET", "/status/current", 403, "", times=1000, skip=1))
    done = await managed.done("container_start", container_name="web")
    assert (done.outcome, done.code, done.effect) == ("unknown", "no_rights", "maybe")


async def test_killed_agent_does_not_take_a_request_to_the_manager_for_its_effect(managed: Cluster) -> None:
    await timed_out(managed, "/status/current", 2, "container_start", container_name="web")
    task = managed.task("container_start", container_name="web")
    managed.notes.write(task.operation_id, Note(node="pve1", type="qmstart,vzstart,hastart,hastop", id=str(WEB)))
    done = await managed.backend.settle(task)
    assert (done.outcome, done.effect, done.over) == ("unknown", "maybe", True)
