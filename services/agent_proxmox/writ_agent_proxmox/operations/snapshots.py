"""Snapshots of guests."""

import re
from collections.abc import Mapping
from typing import Any

from writ_agent.backends.port import ProbeResult
from writ_agent_proxmox.operations.actions import Actions
from writ_agent_proxmox.tasks.guests import Guest
from writ_agent_proxmox.tasks.task_call import TaskCall
from writ_agent_proxmox.tasks.work import GuestWork
from writ_contracts.errors import Invalid

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,39}")
_TAKEN = frozenset({"current", "pending", "vzdump"})
_RIGHTS = ("VM.Audit", "VM.Snapshot")


async def create(work: GuestWork) -> dict[str, Any]:
    """Create one. Raises Invalid (`invalid_parameter`, `exists`)."""
    guest, name = await work.guest(guest_name(work)), checked(work)
    if name in await snapshots(work, guest):
        raise Invalid(f"guest {guest.name} has a snapshot {name} already", code="exists")
    parameters = {"snapname": name, "description": work.task.parameters.get("description", "")}
    await work.do(_change(guest, "post", (), ("qmsnapshot", "vzsnapshot"), parameters))
    return await _shown(work, guest, name)


async def listing(work: GuestWork) -> dict[str, Any]:
    """List them, newest first."""
    guest = await work.guest(guest_name(work))
    found = [_entry(name, row) for name, row in (await snapshots(work, guest)).items()]
    return {"snapshots": sorted(found, key=lambda one: -(one["created_at"] or 0.0))}


async def restore(work: GuestWork) -> dict[str, Any]:
    """Roll the guest back to a snapshot. Raises Invalid (`not_found`)."""
    guest, name = await work.guest(guest_name(work)), checked(work)
    await _present(work, guest, name)
    await work.do(_change(guest, "post", (name, "rollback"), ("qmrollback", "vzrollback"), {}))
    return await _shown(work, guest, name)


async def delete(work: GuestWork) -> dict[str, Any]:
    """Delete one; nothing happens where there is none."""
    guest, name = await work.guest(guest_name(work)), checked(work)
    there = name in await snapshots(work, guest)
    if there:
        await work.do(_change(guest, "delete", (name,), ("qmdelsnapshot", "vzdelsnapshot"), {}))
    return {"snapshot_name": name, "removed": there}


async def preview(work: GuestWork) -> dict[str, Any]:
    """Return the intended change, and the present state."""
    guest, name = await work.guest(guest_name(work)), checked(work)
    there = name in await snapshots(work, guest)
    verb = work.task.operation.name.removeprefix("snapshot_")
    if verb == "restore":
        await _present(work, guest, name)
    return {"snapshot_name": name, "would": f"{verb} snapshot {name} of {guest.id}, which {_there(there)}"}


async def baseline(work: GuestWork) -> dict[str, Any]:
    """Return the snapshot from which the guest's state comes."""
    guest = await work.guest(guest_name(work))
    return {"guest": guest.id, "parent": await _parent(work, guest)}


async def probe(work: GuestWork, before: Mapping[str, Any]) -> ProbeResult:
    """Check whether the snapshot exists, or was removed."""
    guest, name = await work.guest(guest_name(work)), checked(work)
    there = name in await snapshots(work, guest)
    expected = work.task.operation.name == "snapshot_create"
    return ProbeResult(verdict="took_effect" if there is expected else "no_effect", observed={"there": there})


async def probe_restore(work: GuestWork, before: Mapping[str, Any]) -> ProbeResult:
    """Compare the snapshot from which the state comes; an unchanged one is no evidence."""
    parent = await _parent(work, await work.guest(guest_name(work)))
    if parent != checked(work):
        return ProbeResult(verdict="no_effect", observed={"parent": parent})
    return ProbeResult(
        verdict="unknown" if before.get("parent") == parent else "took_effect", observed={"parent": parent}
    )


async def snapshots(work: GuestWork, guest: Guest) -> dict[str, Mapping[str, Any]]:
    """Return the snapshots by name."""
    return {str(row["name"]): row for row in await _rows(work, guest) if row.get("name") != "current"}


def guest_name(work: GuestWork) -> str:
    """Return the guest's name. Raises Invalid (`unsupported`) for a path."""
    if "container_name" not in work.task.parameters:
        raise Invalid("on Proxmox only guests have snapshots and backups: give container_name", code="unsupported")
    return work.name


def checked(work: GuestWork) -> str:
    """Return the name, as Proxmox allows it. Raises Invalid (`invalid_parameter`)."""
    name = str(work.task.parameters["snapshot_name"])
    if _NAME.fullmatch(name) and name.lower() not in _TAKEN:
        return name
    message = (
        "snapshot_name: Proxmox takes 2 to 40 letters, digits, - and _, a letter first, and not current or pending"
    )
    raise Invalid(message, code="invalid_parameter")


async def _present(work: GuestWork, guest: Guest, name: str) -> None:
    if name not in await snapshots(work, guest):
        raise Invalid(f"guest {guest.name} has no snapshot {name}", code="not_found")


async def _shown(work: GuestWork, guest: Guest, name: str) -> dict[str, Any]:
    row = (await snapshots(work, guest)).get(name, {})
    return {"snapshot_name": name, "reference": f"{guest.id}@{name}", "created_at": _time(row)}


async def _parent(work: GuestWork, guest: Guest) -> str:
    return next((str(row.get("parent", "")) for row in await _rows(work, guest) if row.get("name") == "current"), "")


async def _rows(work: GuestWork, guest: Guest) -> list[Mapping[str, Any]]:
    return list(await work.api.get(*guest.path, "snapshot"))


def _change(
    guest: Guest, method: str, more: tuple[str, ...], kind: tuple[str, ...], parameters: Mapping[str, Any]
) -> TaskCall:
    path = (*guest.path, "snapshot", *more)
    return TaskCall(method=method, path=path, node=guest.node, type=kind, id=str(guest.vmid), parameters=parameters)


def _entry(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"snapshot_name": name, "created_at": _time(row), "description": str(row.get("description") or "").strip()}


def _time(row: Mapping[str, Any]) -> float | None:
    return float(row["snaptime"]) if row.get("snaptime") else None


def _there(there: bool) -> str:
    return "exists" if there else "does not exist"


ACTIONS: Mapping[str, Actions] = {
    "snapshot_create": Actions(run=create, preview=preview, probe=probe, rights=_RIGHTS),
    "snapshot_list": Actions(run=listing, rights=("VM.Audit",)),
    "snapshot_restore": Actions(
        run=restore,
        preview=preview,
        baseline=baseline,
        probe=probe_restore,
        rights=("VM.Audit", "VM.Snapshot.Rollback"),
    ),
    "snapshot_delete": Actions(run=delete, preview=preview, probe=probe, rights=_RIGHTS),
}
