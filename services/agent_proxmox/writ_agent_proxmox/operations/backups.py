"""Backups of guests by vzdump, in the storage declared for the target.

Writ's own backups have their id in their notes; the id of any other backup is its file name.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from writ_agent.backends.port import ProbeResult
from writ_agent_proxmox.connection.api import Api
from writ_agent_proxmox.operations.actions import Actions
from writ_agent_proxmox.operations.creation import refuse_taken
from writ_agent_proxmox.operations.power import status_of
from writ_agent_proxmox.operations.snapshots import guest_name
from writ_agent_proxmox.settings import BackupStorage, backup_storage_of
from writ_agent_proxmox.tasks.guests import Guest, Kind, all_guests, free_vmid, some_node
from writ_agent_proxmox.tasks.task_call import TaskCall
from writ_agent_proxmox.tasks.work import GuestWork
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target

MARK = "writ "
_READ = ("VM.Audit", "VM.Backup", "Datastore.Audit")
_WRITE = ("VM.Audit", "VM.Backup", "Datastore.Audit", "Datastore.AllocateSpace")


class VolumeBackup(Struct, frozen=True, kw_only=True):
    """One backup. `volume` is its id in Proxmox."""

    id: str
    volume: str
    node: str
    kind: Kind
    vmid: int
    created_at: float
    size: int


async def create(work: GuestWork) -> dict[str, Any]:
    """Back a guest up. Raises Invalid (`exists`)."""
    guest, place = await work.guest(guest_name(work)), backup_storage_of(work.task.target)
    ident = str(work.task.parameters["backup_id"])
    if ident in {one.id for one in await backups(work.api, work.task.target)}:
        raise Invalid(f"a backup {ident} exists already", code="exists")
    parameters = {
        "vmid": guest.vmid,
        "storage": place.storage,
        "mode": place.mode,
        "compress": place.compress,
        "notes-template": f"{MARK}{ident}",
    }
    path = ("nodes", guest.node, "vzdump")
    await work.do(
        TaskCall(method="post", path=path, node=guest.node, type=("vzdump",), id=str(guest.vmid), parameters=parameters)
    )
    made = await find(work)
    return {"backup_id": ident, "reference": made.volume, "size": made.size, "created_at": made.created_at}


async def listing(work: GuestWork) -> dict[str, Any]:
    """List them, newest first. Raises Invalid (`not_found`) for an unknown guest."""
    found, names = await backups(work.api, work.task.target), await _names(work.api)
    if "container_name" in work.task.parameters:
        guest = await work.guest(work.name)
        found = [one for one in found if one.vmid == guest.vmid]
    most = int(work.task.parameters.get("limit", 100))
    rows = sorted(found, key=lambda one: -one.created_at)
    return {"backups": [_entry(one, names) for one in rows[:most]], "truncated": len(rows) > most}


async def restore(work: GuestWork) -> dict[str, Any]:
    """Restore over the stopped guest with this name, or into a new guest with this name within the target. Raises
    Invalid.
    """
    backup, guest = await find(work), await _guest_or_none(work)
    node = guest.node if guest else backup.node
    vmid = guest.vmid if guest else await free_vmid(work.api, work.task.target)
    parameters = {**_origin(backup), "vmid": vmid}
    if guest is not None:
        await _refuse_other(work, guest, backup)
        parameters["force"] = True
    else:
        await refuse_taken(work, guest_name(work))
        scope = work.api.connection
        parameters |= {name: value for name in ("storage", "pool") if (value := getattr(scope, name))}
        parameters |= {"unique": True, "hostname" if backup.kind == "lxc" else "name": guest_name(work)}
    kinds = ("qmrestore", "qmcreate", "vzrestore", "vzcreate")
    path = ("nodes", node, backup.kind)
    await work.do(TaskCall(method="post", path=path, node=node, type=kinds, id=str(vmid), parameters=parameters))
    return {"backup_id": backup.id, "reference": backup.volume}


async def delete(work: GuestWork) -> dict[str, Any]:
    """Delete one; nothing happens where there is none."""
    ident, place = str(work.task.parameters["backup_id"]), backup_storage_of(work.task.target)
    backup = next((one for one in await backups(work.api, work.task.target) if one.id == ident), None)
    if backup is None:
        return {"backup_id": ident, "removed": False}
    await _refuse_another(work, backup)
    path = ("nodes", backup.node, "storage", place.storage, "content", backup.volume)
    owner = f"{backup.vmid}@{place.storage}"
    await work.do(TaskCall(method="delete", path=path, node=backup.node, type=("imgdel",), id=owner, at_once=True))
    return {"backup_id": ident, "reference": backup.volume, "removed": True}


async def preview_create(work: GuestWork) -> dict[str, Any]:
    """Return the guest to be backed up, and the storage."""
    guest, place = await work.guest(guest_name(work)), backup_storage_of(work.task.target)
    would = f"back up {guest.id} to {place.storage} ({place.mode})"
    return {"backup_id": work.task.parameters["backup_id"], "would": would}


async def preview_restore(work: GuestWork) -> dict[str, Any]:
    """Return the guest to be replaced or created."""
    backup, guest = await find(work), await _guest_or_none(work)
    if guest is not None:
        await _refuse_other(work, guest, backup)
    else:
        await refuse_taken(work, guest_name(work))
    into = f"over {guest.id}" if guest else f"into a new guest {guest_name(work)}"
    return {"backup_id": backup.id, "reference": backup.volume, "would": f"restore {backup.volume} {into}"}


async def preview_delete(work: GuestWork) -> dict[str, Any]:
    """Return the backup to be deleted. Raises Invalid (`not_found`)."""
    backup = await find(work)
    await _refuse_another(work, backup)
    return {"backup_id": backup.id, "reference": backup.volume, "would": f"delete {backup.volume}"}


async def probe(work: GuestWork, before: Mapping[str, Any]) -> ProbeResult:
    """Check whether the backup exists, or was removed."""
    found = {one.id for one in await backups(work.api, work.task.target)}
    there = work.task.parameters["backup_id"] in found
    expected = work.task.operation.name == "backup_create"
    return ProbeResult(verdict="took_effect" if there is expected else "no_effect", observed={"there": there})


async def probe_restore(work: GuestWork, before: Mapping[str, Any]) -> ProbeResult:
    """Return `unknown`: nothing on a guest shows whether it was restored."""
    return ProbeResult(verdict="unknown")


async def backups(api: Api, target: Target) -> list[VolumeBackup]:
    """Return the backups of the target's guests, and of deleted guests where the target is a whole cluster."""
    place, guests = backup_storage_of(target), await all_guests(api)
    node = next((guest.node for guest in guests), None) or await some_node(api)
    rows = await api.get("nodes", node, "storage", place.storage, "content", content="backup")
    found = [one for row in rows if (one := _backup(row, node, place)) is not None]
    whole = not (api.connection.node or api.connection.pool or api.connection.tag)
    ours = {guest.vmid for guest in guests}
    return [one for one in found if whole or one.vmid in ours]


async def find(work: GuestWork) -> VolumeBackup:
    """Return the backup with this id. Raises Invalid (`not_found`, `ambiguous`)."""
    ident = str(work.task.parameters["backup_id"])
    found = [one for one in await backups(work.api, work.task.target) if one.id == ident]
    if len(found) > 1:
        raise Invalid(f"{len(found)} backups have the id {ident}: {found[0].volume}, …", code="ambiguous")
    if not found:
        raise Invalid(f"no backup {ident} on this target", code="not_found")
    return found[0]


def _backup(row: Mapping[str, Any], node: str, place: BackupStorage) -> VolumeBackup | None:
    volume, vmid = str(row.get("volid", "")), row.get("vmid")
    if not isinstance(vmid, int) or not volume.startswith(f"{place.storage}:"):
        return None
    notes = str(row.get("notes") or "").splitlines()
    name = volume.partition(":")[2].removeprefix("backup/").replace("/", "_").replace(":", "-")
    container = (
        row.get("subtype") == "lxc" or "vzdump-lxc-" in volume or volume.partition(":")[2].startswith("backup/ct/")
    )
    return VolumeBackup(
        id=notes[0].removeprefix(MARK).strip() if notes and notes[0].startswith(MARK) else name,
        volume=volume,
        node=node,
        kind="lxc" if container else "qemu",
        vmid=vmid,
        created_at=float(row.get("ctime") or 0),
        size=int(row.get("size") or 0),
    )


def _entry(backup: VolumeBackup, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "backup_id": backup.id,
        "created_at": backup.created_at,
        "container_name": names.get(backup.vmid, str(backup.vmid)),
        "size": backup.size,
        "reference": backup.volume,
    }


def _origin(backup: VolumeBackup) -> dict[str, Any]:
    if backup.kind == "lxc":
        return {"ostemplate": backup.volume, "restore": True}
    return {"archive": backup.volume}


async def _guest_or_none(work: GuestWork) -> Guest | None:
    name = guest_name(work)
    return next((guest for guest in await all_guests(work.api) if guest.name == name), None)


async def _refuse_other(work: GuestWork, guest: Guest, backup: VolumeBackup) -> None:
    if (guest.vmid, guest.kind) != (backup.vmid, backup.kind):
        raise Invalid(f"backup {backup.id} is of guest {backup.vmid}, not of {guest.name}", code="other_guest")
    if await status_of(work, guest) != "stopped":
        raise Invalid(f"guest {guest.name} runs: stop it before it is replaced", code="running")


async def _refuse_another(work: GuestWork, backup: VolumeBackup) -> None:
    """Raises Invalid (`other_guest`, `not_found`) where the request names another guest than that of the backup: a rule
    that names a guest permits the deletion of its backups alone.
    """
    if "container_name" in work.task.parameters:
        guest = await work.guest(guest_name(work))
        if guest.vmid != backup.vmid:
            raise Invalid(f"backup {backup.id} is of guest {backup.vmid}, not of {guest.name}", code="other_guest")


async def _names(api: Api) -> dict[int, str]:
    return {guest.vmid: guest.name for guest in await all_guests(api)}


ACTIONS: Mapping[str, Actions] = {
    "backup_create": Actions(run=create, preview=preview_create, probe=probe, rights=_WRITE),
    "backup_list": Actions(run=listing, rights=_READ),
    "backup_restore": Actions(
        run=restore, preview=preview_restore, probe=probe_restore, rights=(*_WRITE, "VM.Allocate")
    ),
    "backup_delete": Actions(run=delete, preview=preview_delete, probe=probe, rights=_WRITE),
}
