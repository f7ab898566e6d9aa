"""The outcome of a service operation, from the unit's state before and after. Pure functions for every way to systemd.

A job that systemd calls done counts only together with the unit's state afterwards.
"""

from __future__ import annotations

from typing import Any, Dict, Tuple

from writ_hostops.errors import HostError
from writ_hostops.protocol import HostReply
from writ_hostops.systemd.unit import JobEnd, Unit, aliases

SETTLING = 0.25
"""Seconds that a started service must live if systemd calls its start done at once."""
_UNTRIED = ("simple", "exec", "idle")
"""Service types (systemd.service(5)) whose start does not show readiness."""
_RUNS = ("active", "reloading")
_RESTS = ("inactive", "failed")


def judge(verb: str, before: Dict[str, Any], now: Dict[str, Any]) -> Tuple[str, str]:
    """Return succeeded, not_done or unknown, with the reason, from two states."""
    active = str(now["active_state"])
    if active not in (*_RUNS, *_RESTS):
        return "unknown", f"the unit is {active}"
    if verb != "restart" and (active in _RUNS) == (verb == "start"):
        return "succeeded", f"the unit is {active}"
    if not before:
        return "unknown", "there is no baseline to compare with"
    if before.get("boot_id") != now["boot_id"]:
        return "unknown", "the host was restarted since"
    same = all(before.get(key) == now[key] for key in ("invocation_id", "active_enter", "active_state"))
    if same:
        return "not_done", "the unit is as it was before"
    if verb == "restart" and active in _RUNS:
        return "succeeded", "the unit was restarted since"
    return "unknown", f"the unit has changed since, and is {active}"


def would(verb: str, unit: Unit, boot_id: str, asking: str) -> HostReply:
    """Return the job that systemd would get now, as the call or command `asking`; `job_failed` if systemd would
    refuse.
    """
    observed = state(unit, boot_id)
    if unit.load_state != "loaded":
        raise HostError("job_failed", f"{unit.id} cannot be used: it is {unit.load_state}", state=observed)
    if (verb != "stop" and not unit.can_start) or (verb != "start" and not unit.can_stop):
        raise HostError("job_failed", f"{unit.id} refuses a manual {verb}", state=observed)
    shown = "start" if unit.active_state in _RESTS else verb
    word = "nothing" if _is_there(verb, unit) else shown
    return HostReply(output={"would": word, "commands": [asking], **output(unit, boot_id)}, state=observed)


def is_watched(verb: str, before: Unit, unit: Unit) -> bool:
    """Return whether the unit must be watched: right after its job its process exists, but may not live."""
    started = verb != "stop" and not _is_there(verb, before)
    return started and unit.type in _UNTRIED and unit.active_state in _RUNS


def ended(verb: str, before: Unit, end: JobEnd, after: Unit, boot_id: str) -> HostReply:
    """Return the answer to a job from the unit before and after it. Raises HostError for a job that missed its goal."""
    changed = _identity(after) != _identity(before) or (end.result == "done" and not _is_there(verb, before))
    details = {"job_result": end.result, "changed": changed, **output(after, boot_id)}
    effect = "done" if changed else "none"
    if end.result == "done" and _reached(verb, after):
        return HostReply(output=details, state=state(after, boot_id), effect=effect)
    # A cancelled job leaves its begun work running by itself.
    certain = end.result not in ("", "canceled") or after.settled
    raise HostError(
        end.stopped if end.stopped and end.result != "done" else "job_failed",
        _account(verb, end, after),
        effect=effect if certain else "maybe",
        certain=certain,
        output=details,
        state=state(after, boot_id),
    )


def output(unit: Unit, boot_id: str) -> Dict[str, Any]:
    """Return the unit for the requester."""
    return {
        "service_name": unit.id,
        "description": unit.description,
        "load_state": unit.load_state,
        "active_state": unit.active_state,
        "sub_state": unit.sub_state,
        "unit_file_state": unit.unit_file_state,
        "result": unit.result,
        "main_pid": unit.main_pid,
        "exec_main_status": unit.exec_main_status,
        "invocation_id": unit.invocation_id,
        "active_since": unit.active_since / 1e6 if unit.active_since else None,
        "restarts": unit.restarts,
        "needs_reload": unit.needs_reload,
        "boot_id": boot_id,
    }


def state(unit: Unit, boot_id: str) -> Dict[str, Any]:
    """Return the unit's state: enough to decide later if an operation took effect."""
    return {**unit.as_state(), "boot_id": boot_id}


def baseline(unit: Unit, boot_id: str) -> Dict[str, Any]:
    """Return the state with the unit's other names, by which policy judges the start, too."""
    return {**state(unit, boot_id), "names": aliases(unit)}


def _is_there(verb: str, unit: Unit) -> bool:
    """Return whether a job has nothing to do. A oneshot that ran again looks as before."""
    return (verb == "start" and unit.active_state in _RUNS) or (verb == "stop" and unit.active_state in _RESTS)


def _reached(verb: str, unit: Unit) -> bool:
    if verb == "stop":
        return unit.active_state in _RESTS
    # A oneshot that went well is inactive again; auto-restart is a service that keeps failing.
    return unit.active_state != "failed" and unit.sub_state != "auto-restart"


def _account(verb: str, end: JobEnd, unit: Unit) -> str:
    shown = {"cancelled": "cancelled", "timeout": "out of time", "": ""}[end.stopped]
    how = shown or f"job {end.result or 'without an end'}"
    detail = f", {unit.result}, exit status {unit.exec_main_status}" if unit.result not in ("", "success") else ""
    return f"{verb} of {unit.id}: {how}; the unit is {unit.active_state} ({unit.sub_state}{detail})"


def _identity(unit: Unit) -> Tuple[str, str, int]:
    return unit.invocation_id, unit.active_state, unit.active_enter
