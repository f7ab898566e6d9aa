"""Creating and deleting guests."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from writ_agent.backends.port import ProbeResult
from writ_agent_proxmox.operations.actions import Actions
from writ_agent_proxmox.operations.power import baseline, power, reached, shown, status_of
from writ_agent_proxmox.tasks.guests import Guest, all_guests, find_guest, free_vmid, some_node
from writ_agent_proxmox.tasks.task_call import TaskCall
from writ_agent_proxmox.tasks.work import GuestWork
from writ_contracts.errors import Invalid

_CREATE = ("VM.Audit", "VM.Allocate", "VM.Clone", "VM.Config.CPU", "VM.Config.Memory", "VM.Config.Network")
_RIGHTS = (*_CREATE, "VM.Config.Options", "Datastore.AllocateSpace")
DEFAULT_DISK = 8
_NO_PLACE = ("command", "env", "ports", "mounts", "restart_policy")


class GuestPlan(Struct, frozen=True, kw_only=True):
    """A guest to be created. None keeps the template's value."""

    name: str
    template: str
    node: str | None = None
    storage: str | None = None
    cores: int | None = None
    memory: int | None = None
    disk: int | None = None
    bridge: str | None = None
    vlan: int | None = None
    tags: tuple[str, ...] = ()
    pool: str | None = None
    full: bool = False
    start: bool = False

    def network(self, device: str) -> str | None:
        """Return `net0`; None where no bridge is named."""
        vlan = f",tag={self.vlan}" if self.vlan else ""
        return f"{device},bridge={self.bridge}{vlan}" if self.bridge else None


async def create(work: GuestWork) -> dict[str, Any]:
    """Create it from a container's template, or as a clone. Raises Invalid, Denied."""
    plan = plan_of(work)
    others = await all_guests(work.api)
    await refuse_taken(work, plan.name)
    vmid = await free_vmid(work.api, work.task.target)
    if ":vztmpl/" in plan.template:
        guest = Guest(vmid=vmid, kind="lxc", node=plan.node or await some_node(work.api), name=plan.name)
        await work.do(_from_template(plan, guest))
        return await reached(work, guest, "running" if plan.start else "stopped")
    return await _cloned(work, plan, find_guest(others, plan.template), vmid)


async def delete(work: GuestWork) -> dict[str, Any]:
    """Delete it; a running one only by force. Raises Invalid (`running`)."""
    guest, arguments = await work.guest(work.name), work.task.parameters
    if await status_of(work, guest) != "stopped":
        if not arguments.get("force", False):
            raise Invalid(f"guest {guest.name} runs: stop it first, or give force", code="running")
        await work.do(power(guest, "stop", last=False))
        await reached(work, guest, "stopped")
    await work.do(
        TaskCall(
            method="delete",
            path=guest.path,
            node=guest.node,
            type=("qmdestroy", "vzdestroy"),
            id=str(guest.vmid),
            parameters={"purge": True} if arguments.get("purge", False) else {},
        )
    )
    return {"container_name": guest.name, "container_id": guest.id, "removed": True}


async def preview_create(work: GuestWork) -> dict[str, Any]:
    """Return the guest to be created."""
    plan = plan_of(work)
    await refuse_taken(work, plan.name)
    if ":vztmpl/" not in plan.template:
        find_guest(await all_guests(work.api), plan.template)
    return {"container_name": plan.name, "would": f"create guest {plan.name} from {plan.template}"}


async def preview_delete(work: GuestWork) -> dict[str, Any]:
    """Return the guest to be deleted, and its present state."""
    observed = await baseline(work)
    purge = " and its jobs" if work.task.parameters.get("purge", False) else ""
    return {"would": f"delete {observed['guest']}{purge}", **observed}


async def probe_create(work: GuestWork, before: Mapping[str, Any]) -> ProbeResult:
    """Look for the name."""
    there = plan_of(work).name in {guest.name for guest in await all_guests(work.api)}
    return ProbeResult(verdict="took_effect" if there else "no_effect", observed={"there": there})


async def probe_delete(work: GuestWork, before: Mapping[str, Any]) -> ProbeResult:
    """Look for the vmid of the baseline: a guest of the same name may have taken its place."""
    there = before.get("guest") in {guest.id for guest in await all_guests(work.api)}
    return ProbeResult(verdict="no_effect" if there else "took_effect", observed={"there": there})


def plan_of(work: GuestWork) -> GuestPlan:
    """Return the plan within the target's scope. Raises Invalid (`unsupported`, `outside_target`)."""
    parameters, scope = dict(work.task.parameters), work.api.connection
    if work.task.operation.name == "container_create":
        if useless := [
            name for name in parameters if (name in _NO_PLACE and parameters[name]) or name.startswith("only_")
        ]:
            raise Invalid(f"guests of Proxmox have no {', '.join(useless)}", code="unsupported")
        parameters |= {
            "guest_name": parameters["container_name"],
            "template": parameters["image"],
            "cores": _cores(parameters),
        }
        parameters["bridge"] = parameters.get("network")
    tags = (*parameters.get("tags", ()), *((scope.tag,) if scope.tag else ()))
    return GuestPlan(
        name=parameters["guest_name"],
        template=parameters["template"],
        node=within("node", parameters.get("node"), scope.node),
        storage=parameters.get("storage") or scope.storage,
        cores=parameters.get("cores"),
        memory=parameters.get("memory"),
        disk=parameters.get("disk"),
        bridge=parameters.get("bridge") or scope.bridge,
        vlan=parameters.get("vlan"),
        tags=tuple(dict.fromkeys(tags)),
        pool=within("pool", parameters.get("pool"), scope.pool),
        full=parameters.get("full", False),
        start=parameters.get("start", False),
    )


def within(what: str, requested: str | None, scope: str | None) -> str | None:
    """Return the requested one, by default the target's own. Raises Invalid (`outside_target`)."""
    if scope is not None and requested not in (None, scope):
        raise Invalid(f"{what} {requested} is outside this target, whose {what} is {scope}", code="outside_target")
    return requested or scope


async def refuse_taken(work: GuestWork, name: str) -> None:
    """Raises Invalid (`exists`) for the name of any guest of the cluster, even outside of the target: a second guest
    would change the spelling of the first, and so evade the policy's rules.
    """
    rows = await work.api.get("cluster", "resources", type="vm")
    if name in {str(row.get("name")) for row in rows} | {str(row.get("vmid")) for row in rows}:
        raise Invalid(f"a guest {name} exists already in the cluster", code="exists")


def _cores(parameters: Mapping[str, Any]) -> int | None:
    cpus = parameters.get("cpus")
    if cpus is not None and cpus != int(cpus):
        raise Invalid("cpus: guests of Proxmox have whole processors", code="unsupported")
    return int(cpus) if cpus is not None else None


def _from_template(plan: GuestPlan, guest: Guest) -> TaskCall:
    if plan.storage is None:
        raise Invalid("storage: name one, or declare connection.storage of the target", code="invalid_parameter")
    parameters: dict[str, Any] = {
        "vmid": guest.vmid,
        "ostemplate": plan.template,
        "hostname": plan.name,
        "rootfs": f"{plan.storage}:{plan.disk or DEFAULT_DISK}",
        "unprivileged": True,
        "start": plan.start,
        **_settings(plan, "name=eth0", "ip=dhcp"),
        **({"pool": plan.pool} if plan.pool else {}),
    }
    path = ("nodes", guest.node, "lxc")
    return TaskCall(
        method="post", path=path, node=guest.node, type=("vzcreate",), id=str(guest.vmid), parameters=parameters
    )


async def _cloned(work: GuestWork, plan: GuestPlan, source: Guest, vmid: int) -> dict[str, Any]:
    if plan.disk is not None:
        raise Invalid("disk: a clone has the template's; enlarge it with guest_resize", code="unsupported")
    network = ("name=eth0", "ip=dhcp") if source.kind == "lxc" else ("virtio", "")
    settings = _settings(plan, *network)
    guest = Guest(vmid=vmid, kind=source.kind, node=plan.node or source.node, name=plan.name)
    await work.do(_clone(plan, source, vmid, last=not (settings or plan.start)))
    if settings:
        kinds = ("qmconfig", "vzconfig")
        method, path = ("put" if guest.kind == "lxc" else "post"), (*guest.path, "config")
        await work.do(
            TaskCall(
                method=method,
                path=path,
                node=guest.node,
                type=kinds,
                id=str(vmid),
                parameters=settings,
                last=not plan.start,
                at_once=True,
            )
        )
    if plan.start:
        await work.do(power(guest, "start"))
        return await reached(work, guest, "running")
    return shown(guest, await status_of(work, guest))


def _clone(plan: GuestPlan, source: Guest, vmid: int, *, last: bool) -> TaskCall:
    parameters: dict[str, Any] = {"newid": vmid, "hostname" if source.kind == "lxc" else "name": plan.name}
    if plan.full:
        parameters |= {"full": True, **({"storage": plan.storage} if plan.storage else {})}
    if plan.pool:
        parameters["pool"] = plan.pool
    if plan.node and plan.node != source.node:
        parameters["target"] = plan.node
    path, kinds = (*source.path, "clone"), ("qmclone", "vzclone")
    return TaskCall(
        method="post", path=path, node=source.node, type=kinds, id=str(source.vmid), parameters=parameters, last=last
    )


def _settings(plan: GuestPlan, device: str, address: str) -> dict[str, Any]:
    network = plan.network(device)
    parameters = {
        "cores": plan.cores,
        "memory": plan.memory,
        "net0": f"{network},{address}" if network and address else network,
        "tags": ";".join(plan.tags) or None,
    }
    return {name: value for name, value in parameters.items() if value is not None}


_DELETE = ("VM.Audit", "VM.Allocate", "VM.PowerMgmt")
ACTIONS: Mapping[str, Actions] = {
    "guest_create": Actions(run=create, preview=preview_create, probe=probe_create, rights=_RIGHTS),
    "container_create": Actions(run=create, preview=preview_create, probe=probe_create, rights=_RIGHTS),
    "guest_delete": Actions(run=delete, preview=preview_delete, baseline=baseline, probe=probe_delete, rights=_DELETE),
    "container_delete": Actions(
        run=delete, preview=preview_delete, baseline=baseline, probe=probe_delete, rights=_DELETE
    ),
}
