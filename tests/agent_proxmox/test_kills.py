"""kill -9 at every step of a change: the next agent's report is true, and nothing is sent a second time."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.agent_proxmox.cluster import Cluster
from tests.agent_proxmox.killed_agent import OneOperation

from writ_agent.backends.port import Task
from writ_agent_proxmox import backend
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some

MOMENTS = ("proxmox.noted", "proxmox.sent", "proxmox.followed")


class Change(NamedTuple):
    """An operation in one call, and the call's path; `shows` returns whether the cluster has its effect."""

    operation: str
    parameters: dict[str, Any]
    method: str
    suffix: str
    shows: Callable[[Cluster], bool]


def running(cluster: Cluster) -> bool:
    return bool(cluster.web.status == "running")


def on(cluster: Cluster) -> bool:
    return bool(cluster.deaf.status == "running")


def backups(cluster: Cluster) -> list[str]:
    return [name for name in cluster.server.pve.storages["local"]["volumes"] if "vzdump" in name]


CHANGES = {
    "start": Change("container_start", {"container_name": "web"}, "POST", "/start", running),
    "off": Change("guest_stop", {"guest_name": "deaf", "force": True}, "POST", "/shutdown", lambda one: not on(one)),
    "snapshot": Change(
        "snapshot_create",
        {"snapshot_name": "first", "container_name": "web"},
        "POST",
        "/snapshot",
        lambda one: "first" in one.web.snapshots,
    ),
    "backup": Change(
        "backup_create",
        {"backup_id": "nightly", "container_name": "web"},
        "POST",
        "/vzdump",
        lambda one: len(backups(one)) == 1,
    ),
    "resize": Change(
        "guest_resize",
        {"guest_name": "web", "disk": "scsi0", "size": 16},
        "PUT",
        "/resize",
        lambda one: "size=16G" in one.web.config["scsi0"],
    ),
    "migrate": Change(
        "guest_migrate",
        {"guest_name": "web", "node": "pve2"},
        "POST",
        "/migrate",
        lambda one: bool(one.web.node == "pve2"),
    ),
    "delete": Change(
        "guest_delete", {"guest_name": "web"}, "DELETE", "/100", lambda one: one.server.pve.vm(100) is None
    ),
}
MATRIX = some(
    [(change, moment) for change in CHANGES for moment in MOMENTS],
    ("start", "proxmox.noted"),
    ("snapshot", "proxmox.sent"),
    ("delete", "proxmox.followed"),
)


async def killed(cluster: Cluster, task: Task, moment: str) -> None:
    """Carry out the task in its own process, and kill that process at this moment."""
    one = OneOperation(
        tokens=str(cluster.server.tokens),
        notes=str(cluster.notes._folder),
        operation=task.operation.name,
        operation_id=task.operation_id,
        target=task.target,
        parameters=dict(task.parameters),
    )
    command = (sys.executable, "-m", "tests.agent_proxmox.killed_agent")
    env = {**os.environ, "WRIT_FAULT": moment}
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, env=env)
    try:
        await asyncio.wait_for(process.communicate(msgspec.json.encode(one)), 60)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == -signal.SIGKILL


async def ended(cluster: Cluster) -> bool:
    tasks = list(cluster.server.pve.tasklog)
    return bool(tasks) and all(one["status"] != "running" for one in tasks)


@pytest.mark.parametrize(("change", "moment"), MATRIX)
async def test_an_agent_killed_at_this_moment_leaves_one_effect_and_a_true_outcome(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, change: str, moment: str
) -> None:
    monkeypatch.setattr(backend, "SETTLE_SECONDS", 1.0)
    cluster.server.do(lambda pve: pve.add_node("pve2"))
    operation, parameters, method, suffix, shows = CHANGES[change]
    task = cluster.task(operation, **parameters)
    await killed(cluster, task, moment)
    sent = cluster.server.calls(method, suffix)
    assert sent == (0 if moment == "proxmox.noted" else 1)
    if sent:
        await eventually(lambda: ended(cluster), what="the task's end")
    done = await cluster.backend.settle(task)
    assert cluster.server.calls(method, suffix) == sent
    assert shows(cluster) is bool(sent)
    if sent:
        assert (done.outcome, done.effect, done.over) == ("succeeded", "done", True), done
        assert cluster.notes.read(task.operation_id) is None
    else:  # the note alone cannot tell that nothing was sent
        assert (done.outcome, done.effect, done.over) == ("unknown", "maybe", False), done
