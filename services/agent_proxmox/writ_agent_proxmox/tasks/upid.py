"""Task ids of Proxmox, and the meaning of a task's end (pve-common: UPID.pm, PVE::Tools::upid_decode)."""

import re
from typing import Literal

from msgspec import Struct

_UPID = re.compile(
    r"UPID:(?P<node>[A-Za-z0-9][A-Za-z0-9-]{0,62}):(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9})"
    r":(?P<start>[0-9A-Fa-f]{8}):(?P<type>[^:\s]{1,64}):(?P<id>[^:\s]{0,128}):(?P<user>[^:\s]{1,160}):"
)
_WARNINGS = re.compile(r"WARNINGS: (?P<count>[0-9]+)")
_PERCENT = re.compile(r"(?<![\d.])(?P<percent>\d{1,3})(?:\.\d+)?\s?%")

Kind = Literal["ok", "warnings", "failed", "unknown"]
HA = ("hastart", "hastop", "hamigrate")
"""Tasks of guests under high availability."""


class Upid(Struct, frozen=True):
    """A task: `node` runs it and reports it, `type` is such as qmstart, `id` is mostly the guest's vmid."""

    text: str
    node: str
    type: str
    id: str
    user: str

    @property
    def is_request(self) -> bool:
        """Return true for a task that only passes a request to the manager for high availability, and ends before the
        guest changes.
        """
        return self.type in HA


class TaskEnd(Struct, frozen=True):
    """The end of a task; `warnings` is their number, `text` the exit status as Proxmox words it."""

    kind: Kind
    text: str = ""
    warnings: int = 0


def parse_upid(text: object) -> Upid | None:
    """Return the task named by a text; None where it is no UPID."""
    found = _UPID.fullmatch(text) if isinstance(text, str) else None
    return Upid(found[0], found["node"], found["type"], found["id"], found["user"]) if found else None


def end_of(exitstatus: object) -> TaskEnd:
    """Return the meaning of an exit status: warnings are a success, no status is no failure either."""
    text = exitstatus if isinstance(exitstatus, str) else ""
    if text == "OK":
        return TaskEnd("ok", text)
    if found := _WARNINGS.fullmatch(text):
        return TaskEnd("warnings", text, int(found["count"]))
    return TaskEnd("failed" if text and text != "unexpected status" else "unknown", text)


def percent_of(lines: list[str]) -> int | None:
    """Return the last percentage in a log."""
    for line in reversed(lines):
        if (found := list(_PERCENT.finditer(line))) and (percent := int(found[-1]["percent"])) <= 100:
            return percent
    return None
