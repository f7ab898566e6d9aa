"""service_status, service_start, service_stop and service_restart; an alias is answered with the unit that it means.

A job that systemd calls done counts only together with the state of the unit afterwards.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterator, Tuple

from writ_hostops.errors import HostError
from writ_hostops.fields import Fields
from writ_hostops.protocol import Answer, Call, verdict
from writ_hostops.systemd.bus import NoBus, system_bus
from writ_hostops.systemd.command import SystemdByCommand
from writ_hostops.systemd.names import full_name
from writ_hostops.systemd.unit import JobEnd, Systemd, Unit

_RUNS = ("active", "reloading")
_RESTS = ("inactive", "failed")


def status(call: Call) -> Answer:
    """service_status."""
    name, unit = _look(call)
    return Answer(output=_output(name, unit), state=_state(unit))


def start(call: Call) -> Answer:
    """service_start."""
    return _change("start", call)


def stop(call: Call) -> Answer:
    """service_stop."""
    return _change("stop", call)


def restart(call: Call) -> Answer:
    """service_restart."""
    return _change("restart", call)


def baseline(call: Call) -> Answer:
    """The unit as it is: enough to tell afterwards whether this very operation took effect."""
    state = _state(_look(call)[1])
    return Answer(output=state, state=state)


def preview(call: Call) -> Answer:
    """What systemd would be asked to do now; `job_failed` if it would refuse."""
    verb = call.operation.rpartition("_")[2]
    name, unit = _look(call)
    if unit.load_state != "loaded":
        raise HostError("job_failed", f"{unit.id} cannot be used: it is {unit.load_state}", state=_state(unit))
    if (verb != "stop" and not unit.can_start) or (verb != "start" and not unit.can_stop):
        raise HostError("job_failed", f"{unit.id} refuses a {verb} by hand", state=_state(unit))
    asked = "start" if unit.active_state in _RESTS else verb
    would = "nothing" if _is_there(verb, unit) else asked
    return Answer(output={"would": would, **_output(name, unit)}, state=_state(unit))


def probe(call: Call) -> Answer:
    """Whether the operation took effect, by what has changed since its baseline."""
    verb = call.operation.rpartition("_")[2]
    unit = _look(call)[1]
    now = _state(unit)
    word, reason = judge(verb, dict(call.baseline), now)
    return verdict(word, reason, now)


def judge(verb: str, before: Dict[str, Any], now: Dict[str, Any]) -> Tuple[str, str]:
    """succeeded, not_done or unknown, and why; a pure function of two states."""
    active = str(now["active_state"])
    if active not in (*_RUNS, *_RESTS):
        return "unknown", f"the unit is {active}"
    if verb != "restart" and (active in _RUNS) == (verb == "start"):
        return "succeeded", f"the unit is {active}"
    if not before:
        return "unknown", "there is no baseline to compare with"
    if before.get("boot_id") != now["boot_id"]:
        return "unknown", "the host was started anew since"
    same = all(before.get(key) == now[key] for key in ("invocation_id", "active_enter", "active_state"))
    if same:
        return "not_done", "the unit is as it was before"
    if verb == "restart" and active in _RUNS:
        return "succeeded", "the unit was started anew since"
    return "unknown", f"the unit has changed since, and is {active}"


def _change(verb: str, call: Call) -> Answer:
    name = _name(call)
    with _systemd() as systemd:
        before = systemd.unit(name)
        end = systemd.job(verb, before.id, call.stop, call.progress)
        try:
            after = systemd.unit(before.id)
        except HostError as error:
            raise HostError(error.code, error.message, effect="maybe") from error
    changed = _identity(after) != _identity(before) or (end.result == "done" and not _is_there(verb, before))
    output = {"job_result": end.result, "changed": changed, **_output(name, after)}
    effect = "done" if changed else "none"
    if end.result == "done" and _reached(verb, after):
        return Answer(output=output, state=_state(after), effect=effect)
    # A job that was taken back leaves what it had begun to go on by itself.
    certain = end.result not in ("", "canceled") or after.settled
    raise HostError(
        end.stopped if end.stopped and end.result != "done" else "job_failed",
        _account(verb, end, after),
        effect=effect if certain else "maybe",
        certain=certain,
        output=output,
        state=_state(after),
    )


def _is_there(verb: str, unit: Unit) -> bool:
    """Whether a job has nothing to do; a oneshot that was run again looks as before."""
    return (verb == "start" and unit.active_state in _RUNS) or (verb == "stop" and unit.active_state in _RESTS)


def _reached(verb: str, unit: Unit) -> bool:
    if verb == "stop":
        return unit.active_state in _RESTS
    # A oneshot that went well is inactive again; auto-restart is a service that keeps failing.
    return unit.active_state != "failed" and unit.sub_state != "auto-restart"


def _account(verb: str, end: JobEnd, unit: Unit) -> str:
    asked = {"cancelled": "cancelled", "timeout": "out of time", "": ""}[end.stopped]
    how = asked or f"job {end.result or 'without an end'}"
    detail = f", {unit.result}, exit status {unit.exec_main_status}" if unit.result not in ("", "success") else ""
    return f"{verb} of {unit.id}: {how}; the unit is {unit.active_state} ({unit.sub_state}{detail})"


def _identity(unit: Unit) -> Tuple[str, str, int]:
    return unit.invocation_id, unit.active_state, unit.active_enter


def _output(name: str, unit: Unit) -> Dict[str, Any]:
    return {
        "service_name": unit.id,
        "requested": name,
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
        "boot_id": _boot_id(),
    }


def _look(call: Call) -> Tuple[str, Unit]:
    name = _name(call)
    with _systemd() as systemd:
        return name, systemd.unit(name)


def _name(call: Call) -> str:
    fields = Fields(dict(call.parameters), "parameters")
    name = full_name(fields.text("service_name"))
    fields.end()
    return name


@contextmanager
def _systemd() -> Iterator[Systemd]:
    with ExitStack() as stack:
        systemd: Systemd
        try:
            systemd = stack.enter_context(system_bus())
        except NoBus:
            systemd = SystemdByCommand()
        yield systemd


def _state(unit: Unit) -> Dict[str, Any]:
    return {**unit.as_state(), "boot_id": _boot_id()}


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
