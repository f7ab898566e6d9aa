"""Start, stop, restart and inspect a guest."""

import time
from collections.abc import Mapping
from typing import Any

from writ_agent.backends.port import ProbeResult, TaskResult
from writ_agent_proxmox.operations.actions import Actions, Run
from writ_agent_proxmox.tasks.guests import Guest
from writ_agent_proxmox.tasks.task_call import TaskCall
from writ_agent_proxmox.tasks.upid import HA
from writ_agent_proxmox.tasks.work import GuestWork, OperationEnded
from writ_contracts.errors import WritError

RESERVE = 10.0
"""Seconds of an operation's timeout that are left for the API beside a guest's own shutdown."""
TYPES: Mapping[str, tuple[str, str]] = {
    "start": ("qmstart", "vzstart"),
    "shutdown": ("qmshutdown", "vzshutdown"),
    "stop": ("qmstop", "vzstop"),
    "reboot": ("qmreboot", "vzreboot"),
}
HA_PAUSE = 0.5
STOPPED_SECONDS = 5.0
"""For which a guest may be stopped after the end of the task that has started it."""


def power(guest: Guest, verb: str, parameters: Mapping[str, Any] | None = None, *, last: bool = True) -> TaskCall:
    """Return the change for a verb of `status/`."""
    kind = TYPES[verb][guest.kind == "lxc"]
    return TaskCall(
        method="post",
        path=(*guest.path, "status", verb),
        node=guest.node,
        type=(kind, *HA),
        id=str(guest.vmid),
        parameters=parameters or {},
        last=last,
    )


async def start(work: GuestWork) -> dict[str, Any]:
    """Start it unless it runs."""
    guest = await work.guest(work.name)
    if await status_of(work, guest) != "running":
        await work.do(power(guest, "start"))
    return await reached(work, guest, "running")


async def stop(work: GuestWork) -> dict[str, Any]:
    """Shut it down unless it is stopped; `force` turns it off once its grace is over."""
    guest = await work.guest(work.name)
    if await status_of(work, guest) != "stopped":
        parameters = {"timeout": grace(work), "forceStop": bool(work.task.parameters.get("force", False))}
        await work.do(power(guest, "shutdown", parameters))
    return await reached(work, guest, "stopped")


async def restart(work: GuestWork) -> dict[str, Any]:
    """Restart it; start it if it does not run."""
    guest = await work.guest(work.name)
    if await status_of(work, guest) == "stopped":
        await work.do(power(guest, "start"))
    else:
        await work.do(power(guest, "reboot", {"timeout": grace(work)}))
    return await reached(work, guest, "running")


async def inspect(work: GuestWork) -> dict[str, Any]:
    """Return state and settings; of the configuration only the parts without credentials."""
    guest = await work.guest(work.name)
    config = await work.api.get(*guest.path, "config")
    disks, networks = devices(config)
    return {
        **shown(guest, await status_of(work, guest)),
        "mounts": disks,
        "networks": networks,
        "restart_policy": "always" if config.get("onboot") in (1, "1", True) else "no",
        "labels": {"tags": ";".join(guest.tags), "pool": guest.pool},
    }


async def reached(work: GuestWork, guest: Guest, status: str) -> dict[str, Any]:
    """Wait until a guest has this status, and return its state: under high availability its task ends before.
    It may have been moved to another node. Raises OperationEnded where the operation is stopped meanwhile, or the guest
    has stopped again.
    """
    until = time.monotonic() + STOPPED_SECONDS
    while True:
        observed = ""
        try:
            observed = await status_of(work, guest)
        except WritError as error:
            if error.code != "guest_moved" and not (error.retry and work.is_managed):
                raise
            guest = await work.found_again(guest)
        if observed == status:
            return shown(guest, status)
        work.check_stopped(f"the guest is {observed or 'not to be seen'} so far, and not {status}")
        if observed == "stopped" and work.has_started and time.monotonic() > until:
            raise OperationEnded(_stopped_again(work))
        await work.pause(HA_PAUSE)


def _stopped_again(work: GuestWork) -> TaskResult:
    message = "its task has started it, and it has stopped again: look at its console and log in Proxmox"
    return TaskResult(outcome="failed", code="container_exited", message=message, effect="done", state=work.state())


async def status_of(work: GuestWork, guest: Guest) -> str:
    """Return `running` or `stopped`, as its node has it now."""
    return str((await work.current(guest)).get("status", ""))


def shown(guest: Guest, status: str) -> dict[str, Any]:
    """Return the guest as ContainerState."""
    return {"container_name": guest.name, "container_id": guest.id, "state": status}


async def baseline(work: GuestWork) -> dict[str, Any]:
    """Return status, process and uptime, which show a restart."""
    guest = await work.guest(work.name)
    current = await work.current(guest)
    return {"guest": guest.id, "node": guest.node, **{key: current.get(key) for key in ("status", "pid", "uptime")}}


def probe_status(status: str) -> Any:
    """Return a probe for a status."""

    async def probe(work: GuestWork, before: Mapping[str, Any]) -> ProbeResult:
        observed = await baseline(work)
        return ProbeResult(verdict="took_effect" if observed["status"] == status else "no_effect", observed=observed)

    return probe


async def probe_restart(work: GuestWork, before: Mapping[str, Any]) -> ProbeResult:
    """Compare process and uptime with the baseline."""
    observed = await baseline(work)
    if observed["status"] != "running":
        return ProbeResult(verdict="unknown", observed=observed)
    began_later = before.get("status") != "running" or observed["pid"] != before.get("pid")
    shorter = (observed["uptime"] or 0) < (before.get("uptime") or 0)
    return ProbeResult(verdict="took_effect" if began_later or shorter else "no_effect", observed=observed)


def preview(verb: str, done: str) -> Run:
    """Return the call to be sent as a preview; nothing where the guest has the status already."""

    async def read_preview(work: GuestWork) -> dict[str, Any]:
        observed = await baseline(work)
        would = (
            f"nothing: {observed['guest']} is {done}" if observed["status"] == done else f"{verb} {observed['guest']}"
        )
        return {"would": would, **observed}

    return read_preview


def grace(work: GuestWork) -> int:
    """Return the seconds for a guest to shut down by itself."""
    return max(1, int(work.task.timeout - min(RESERVE, work.task.timeout / 3)))


def devices(config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return disks (`scsi0: volume,size=8G`) and bridges of a configuration."""
    texts = {key: str(value) for key, value in config.items() if key[-1:].isdigit() or key == "rootfs"}
    disks = [f"{key}: {text}" for key, text in texts.items() if key.startswith(_DISKS)]
    nets = [text for key, text in texts.items() if key.startswith("net")]
    bridges = {part[7:] for text in nets for part in text.split(",") if part.startswith("bridge=")}
    return sorted(disks), sorted(bridges)


_DISKS = ("ide", "sata", "scsi", "virtio", "efidisk", "tpmstate", "rootfs", "mp")
_POWER = ("VM.Audit", "VM.PowerMgmt")

ACTIONS: Mapping[str, Actions] = {
    "container_start": Actions(
        run=start,
        preview=preview("start", "running"),
        baseline=baseline,
        probe=probe_status("running"),
        rights=_POWER,
    ),
    "container_stop": Actions(
        run=stop,
        preview=preview("shut down", "stopped"),
        baseline=baseline,
        probe=probe_status("stopped"),
        rights=_POWER,
    ),
    "guest_stop": Actions(
        run=stop,
        preview=preview("shut down", "stopped"),
        baseline=baseline,
        probe=probe_status("stopped"),
        rights=_POWER,
    ),
    "container_restart": Actions(
        run=restart, preview=preview("restart", ""), baseline=baseline, probe=probe_restart, rights=_POWER
    ),
    "container_inspect": Actions(run=inspect, rights=("VM.Audit",)),
}
