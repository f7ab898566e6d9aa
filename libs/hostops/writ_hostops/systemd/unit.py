"""A unit's state by systemd, and the port `Systemd`, by D-Bus or by command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Protocol, Tuple

from writ_hostops.errors import HostError
from writ_hostops.stop import CancelToken
from writ_hostops.systemd.names import short_name

SETTLED = ("active", "inactive", "failed")
"""Active states without a transition."""

UNIT_PROPERTIES = (
    "Id",
    "Names",
    "Description",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "InvocationID",
    "ActiveEnterTimestamp",
    "ActiveEnterTimestampMonotonic",
    "Job",
    "CanStart",
    "CanStop",
    "NeedDaemonReload",
)
"""Properties read of every unit, from org.freedesktop.systemd1.Unit."""
KIND_PROPERTIES: Mapping[str, str] = {
    "Result": "",
    "Type": "Service",
    "MainPID": "Service",
    "ExecMainStatus": "Service",
    "NRestarts": "Service",
}
"""Properties read of units of one kind; "" is every kind."""


def interface_of(name: str) -> str:
    """Return a unit's kind as the last word of its D-Bus interface."""
    return name.rpartition(".")[2].capitalize()


def properties_of(name: str) -> List[str]:
    """Return those of KIND_PROPERTIES that this unit's kind has."""
    return [key for key, interface in KIND_PROPERTIES.items() if interface in ("", interface_of(name))]


@dataclass(frozen=True)
class Unit:
    """A unit at one moment. `names`: its own and its aliases.

    `active_since` in Unix microseconds, `active_enter` in those of the monotonic clock.
    """

    id: str
    names: Tuple[str, ...] = ()
    description: str = ""
    load_state: str = ""
    active_state: str = ""
    sub_state: str = ""
    unit_file_state: str = ""
    invocation_id: str = ""
    active_since: int = 0
    active_enter: int = 0
    job: int = 0
    can_start: bool = False
    can_stop: bool = False
    needs_reload: bool = False
    type: str = ""
    result: str = ""
    main_pid: int = 0
    exec_main_status: int = 0
    restarts: int = 0

    @property
    def settled(self) -> bool:
        """Return True if nothing goes on: no job is queued, and its state is no transition."""
        return self.job == 0 and self.active_state in SETTLED

    def as_state(self) -> Dict[str, Any]:
        """Return the unit for baselines and the `state` of answers."""
        return {
            "service_name": self.id,
            "active_state": self.active_state,
            "sub_state": self.sub_state,
            "result": self.result,
            "exec_main_status": self.exec_main_status,
            "invocation_id": self.invocation_id,
            "active_enter": self.active_enter,
        }


def unit_from(values: Mapping[str, Any]) -> Unit:
    """Return the unit with these plain properties: text, numbers, bools. Absent ones keep their default."""
    return Unit(
        id=values["Id"],
        names=tuple(values.get("Names", ())),
        description=values.get("Description", ""),
        load_state=values.get("LoadState", ""),
        active_state=values.get("ActiveState", ""),
        sub_state=values.get("SubState", ""),
        unit_file_state=values.get("UnitFileState", ""),
        invocation_id=values.get("InvocationID", ""),
        active_since=values.get("ActiveEnterTimestamp", 0),
        active_enter=values.get("ActiveEnterTimestampMonotonic", 0),
        job=values.get("Job", 0),
        can_start=values.get("CanStart", False),
        can_stop=values.get("CanStop", False),
        needs_reload=values.get("NeedDaemonReload", False),
        type=values.get("Type", ""),
        result=values.get("Result", ""),
        main_pid=values.get("MainPID", 0),
        exec_main_status=values.get("ExecMainStatus", 0),
        restarts=values.get("NRestarts", 0),
    )


def own(name: str, unit: Unit) -> Unit:
    """Return the found unit if the name is its own. HostError `unit_alias`."""
    if unit.id == name:
        return unit
    raise HostError("unit_alias", f"{name} is another name of {unit.id} on this host: use {short_name(unit.id)}")


def judged(unit: Unit, baseline: Mapping[str, Any]) -> Unit:
    """Return the unit if its baseline reported all of its names to policy. HostError `unit_alias`."""
    unjudged = [name for name in aliases(unit) if name not in (baseline.get("names") or ())]
    if unjudged:
        reason = (
            f"{unit.id} is also {', '.join(unjudged)} on this host, which policy did not know: send the request again"
        )
        raise HostError("unit_alias", reason)
    return unit


def aliases(unit: Unit) -> List[str]:
    """Return its other names, in the form of a request."""
    return sorted(short_name(name) for name in unit.names if name != unit.id)


@dataclass(frozen=True)
class JobEnd:
    """The end of a job. `result`: systemd's word (done, failed, canceled, timeout, dependency, skipped …), or "".

    `stopped`: "", `cancelled` or `timeout`, if hostops ended it.
    """

    result: str
    stopped: str = ""


class Systemd(Protocol):
    """The port to the host's systemd."""

    def unit(self, name: str) -> Unit:
        """Return the unit with that name or alias; HostError `unit_not_found`."""

    def names(self) -> List[str]:
        """Return the units of supported kinds that are loaded, or have a file and are neither masked nor templates,
        without aliases.
        """

    def job(self, verb: str, name: str, stop: CancelToken, progress: Callable[[str], None]) -> JobEnd:
        """Start, stop or restart the unit and wait for the end. A cancel cancels the job, and still waits for a
        moment.
        """

    def shown(self, verb: str, name: str) -> str:
        """Return the call or command of `job`, for people."""
