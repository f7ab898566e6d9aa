"""Reads of a cluster: guests, nodes, storages, and the log of a task."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from writ_agent_proxmox.operations.actions import Actions
from writ_agent_proxmox.tasks.guests import guests_of
from writ_agent_proxmox.tasks.upid import parse_upid
from writ_agent_proxmox.tasks.work import GuestWork
from writ_contracts.errors import Invalid

LOG_PAGE = 2000
"""Lines of a log to read at once: Proxmox reads its file from the beginning each time."""
LONGEST_LINE = 2000


async def guest_list(work: GuestWork) -> dict[str, Any]:
    """List the target's guests."""
    rows = await work.api.get("cluster", "resources", type="vm")
    statuses = {row.get("vmid"): str(row.get("status") or "") for row in rows}
    return {
        "guests": [
            {
                "guest_name": one.name,
                "vmid": one.vmid,
                "kind": one.kind,
                "node": one.node,
                "status": statuses.get(one.vmid, ""),
                "template": one.template,
                "pool": one.pool,
                "tags": list(one.tags),
            }
            for one in guests_of(rows, work.api.connection)
        ]
    }


async def node_status(work: GuestWork) -> dict[str, Any]:
    """Show the nodes, including offline ones, and the state of the quorum."""
    rows = await work.api.get("cluster", "resources", type="node")
    cluster = await work.api.get("cluster", "status")
    quorate = next((bool(row.get("quorate")) for row in cluster if row.get("type") == "cluster"), True)
    return {"quorate": quorate, "nodes": [_node(row) for row in rows if _ours(work, row)]}


async def storage_status(work: GuestWork) -> dict[str, Any]:
    """Show the storages of each node."""
    rows = await work.api.get("cluster", "resources", type="storage")
    return {"storages": [_storage(row) for row in rows if _ours(work, row)]}


async def task_log(work: GuestWork) -> dict[str, Any]:
    """Show the end of a task's log. Raises Invalid (`outside_target`) for a task on a guest of no concern here."""
    upid = parse_upid(work.task.parameters["upid"])
    if upid is None:
        raise Invalid("upid: is not a task id of Proxmox", code="invalid_parameter")
    await _refuse_outside(work, upid.node, upid.id)
    path, most = ("nodes", upid.node, "tasks", upid.text), int(work.task.parameters["lines"])
    status = await work.api.get(*path, "status")
    lines, read = deque[str](maxlen=most), 0
    while rows := await work.api.get(*path, "log", start=read, limit=LOG_PAGE):
        lines.extend(str(row.get("t", ""))[:LONGEST_LINE] for row in rows)
        read += len(rows)
        if len(rows) < LOG_PAGE:
            break
    return {
        "status": str(status.get("status", "")),
        "exit_status": str(status.get("exitstatus", "")),
        "log": "\n".join(lines),
    }


async def _refuse_outside(work: GuestWork, node: str, ident: str) -> None:
    scope = work.api.connection
    if scope.node is None and scope.pool is None and scope.tag is None:
        return
    rows = await work.api.get("cluster", "resources", type="vm")
    if ident not in {str(one.vmid) for one in guests_of(rows, scope)}:
        raise Invalid("the task belongs to no guest of this target", code="outside_target")


def _ours(work: GuestWork, row: Mapping[str, Any]) -> bool:
    return work.api.connection.node in (None, row.get("node"))


def _node(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "node": str(row.get("node", "")),
        "online": row.get("status") == "online",
        "cpu": row.get("cpu"),
        "cores": row.get("maxcpu"),
        "memory": row.get("maxmem"),
        "memory_used": row.get("mem"),
        "uptime": row.get("uptime"),
    }


def _storage(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "storage": str(row.get("storage", "")),
        "node": str(row.get("node", "")),
        "kind": str(row.get("plugintype", "")),
        "content": str(row.get("content", "")),
        "active": row.get("status") == "available",
        "shared": bool(row.get("shared")),
        "size": row.get("maxdisk"),
        "used": row.get("disk"),
    }


ACTIONS: Mapping[str, Actions] = {
    "guest_list": Actions(run=guest_list, rights=("VM.Audit",)),
    "node_status": Actions(run=node_status, rights=("Sys.Audit",)),
    "storage_status": Actions(run=storage_status, rights=("Datastore.Audit",)),
    "task_log": Actions(run=task_log, rights=("Sys.Audit",)),
}
