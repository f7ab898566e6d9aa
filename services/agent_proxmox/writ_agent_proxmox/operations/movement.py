"""Moving a guest to another node, and letting its disks grow."""

import re
from collections.abc import Mapping
from typing import Any

from writ_agent.backends.port import ProbeResult
from writ_agent_proxmox.operations.actions import Actions
from writ_agent_proxmox.operations.creation import within
from writ_agent_proxmox.operations.power import HA_PAUSE, baseline
from writ_agent_proxmox.tasks.guests import Guest
from writ_agent_proxmox.tasks.task_call import TaskCall
from writ_agent_proxmox.tasks.work import GuestWork
from writ_contracts.errors import Invalid

_SIZE = re.compile(r"(?:^|,)size=(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[KMGT]?)(?:,|$)")
_GIB = {"": 2.0**-30, "K": 2.0**-20, "M": 2.0**-10, "G": 1.0, "T": 1024.0}


async def migrate(work: GuestWork) -> dict[str, Any]:
    """Move it; nothing happens where it is there. Raises Invalid (`outside_target`)."""
    guest, node = await work.guest(work.name), _node(work)
    if guest.node != node:
        parameters = work.task.parameters
        online = parameters.get("online", False)
        move: dict[str, Any] = {"target": node, "restart" if guest.kind == "lxc" else "online": online}
        if parameters.get("local_disks", False) and guest.kind == "qemu":
            move["with-local-disks"] = True
        kinds = ("qmigrate", "vzmigrate", "hamigrate")
        path = (*guest.path, "migrate")
        await work.do(
            TaskCall(method="post", path=path, node=guest.node, type=kinds, id=str(guest.vmid), parameters=move)
        )
        guest = await _arrived(work, guest, node)
    return {"guest_name": guest.name, "node": guest.node}


async def _arrived(work: GuestWork, guest: Guest, node: str) -> Guest:
    """Return the guest once it is on the node: under high availability its task ends before. Raises OperationEnded
    where the operation is stopped meanwhile.
    """
    while True:
        guest = await work.found_again(guest)
        if guest.node == node:
            return guest
        work.check_stopped(f"the guest is on {guest.node} so far")
        await work.pause(HA_PAUSE)


async def preview_migrate(work: GuestWork) -> dict[str, Any]:
    """Say where it would go."""
    observed, node = await baseline(work), _node(work)
    there = observed["node"] == node
    return {
        "would": f"nothing: {observed['guest']} is on {node}" if there else f"move {observed['guest']} to {node}",
        **observed,
    }


async def probe_migrate(work: GuestWork, before: Mapping[str, Any]) -> ProbeResult:
    guest = await work.guest(work.name)
    return ProbeResult(
        verdict="took_effect" if guest.node == _node(work) else "no_effect", observed={"node": guest.node}
    )


async def resize(work: GuestWork) -> dict[str, Any]:
    """Grow a disk; nothing happens if it has the size already. Raises Invalid (`not_found`, `unsupported`)."""
    guest, disk, new_size = await work.guest(work.name), *_requested_size(work)
    size = await _size(work, guest, disk)
    if size > new_size:
        raise Invalid(f"{disk} has {size:g} GiB: disks never shrink", code="unsupported")
    if size < new_size:
        parameters = {"disk": disk, "size": f"{new_size}G"}
        path = (*guest.path, "resize")
        await work.do(
            TaskCall(
                method="put",
                path=path,
                node=guest.node,
                type=("resize",),
                id=str(guest.vmid),
                parameters=parameters,
                at_once=True,
            )
        )
    return {"guest_name": guest.name, "disk": disk, "size": await _size(work, guest, disk)}


async def preview_resize(work: GuestWork) -> dict[str, Any]:
    """Say which size it has, and would have."""
    guest, disk, new_size = await work.guest(work.name), *_requested_size(work)
    size = await _size(work, guest, disk)
    return {"would": f"enlarge {disk} of {guest.id} from {size:g} to {new_size} GiB", "size": size}


async def probe_resize(work: GuestWork, before: Mapping[str, Any]) -> ProbeResult:
    guest, disk, new_size = await work.guest(work.name), *_requested_size(work)
    size = await _size(work, guest, disk)
    return ProbeResult(verdict="took_effect" if size >= new_size else "no_effect", observed={"size": size})


def gibibytes(disk: str) -> float | None:
    """Return the size in a disk's line of a configuration; None where it names none."""
    found = _SIZE.search(disk)
    return float(found["number"]) * _GIB[found["unit"]] if found else None


async def _size(work: GuestWork, guest: Guest, disk: str) -> float:
    config = await work.api.get(*guest.path, "config")
    size = gibibytes(str(config.get(disk, "")))
    if size is None:
        raise Invalid(f"guest {guest.name} has no disk {disk}", code="not_found")
    return size


def _requested_size(work: GuestWork) -> tuple[str, int]:
    return str(work.task.parameters["disk"]), int(work.task.parameters["size"])


def _node(work: GuestWork) -> str:
    return str(within("node", work.task.parameters["node"], work.api.connection.node))


ACTIONS: Mapping[str, Actions] = {
    "guest_migrate": Actions(
        run=migrate,
        preview=preview_migrate,
        baseline=baseline,
        probe=probe_migrate,
        rights=("VM.Audit", "VM.Migrate"),
    ),
    "guest_resize": Actions(
        run=resize, preview=preview_resize, probe=probe_resize, rights=("VM.Audit", "VM.Config.Disk")
    ),
}
