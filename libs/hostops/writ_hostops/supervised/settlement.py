"""This host's knowledge of an operation whose connection broke: never begun, running, ended with its result, or lost.

The question settles it: an operation not begun by now cannot begin later, since its mark is taken here.
"""

from __future__ import annotations

import time
from typing import Any, Dict, Mapping, Tuple

from writ_hostops import processes
from writ_hostops.errors import HostError
from writ_hostops.markers import Markers

NEVER = "never"
"""The name of a mark that prevents the operation's begin."""
_TORN, _PAUSE = 1.0, 0.02
"""Seconds after which an empty mark is the leftover of a crash, and not one being written."""


def settle(message: Mapping[str, Any], state_dir: str) -> Dict[str, Any]:
    """Return {seen: never | ended | running | lost | unknown, result, certain}. With `end`, a running operation is
    ended first.
    """
    operation_id, attempt = str(message.get("id", "")), int(message.get("attempt", 1))
    try:
        begun, ended = _fenced(Markers(state_dir), operation_id, attempt)
        who = begun.get("process") or {}
        certain = True
        if not ended and begun.get("operation") != NEVER and message.get("end"):
            markers = Markers(state_dir)
            certain = processes.end(
                who, operation_id, float(message.get("grace", 1.0)), lambda: markers.has_ended(operation_id, attempt)
            )
            ended = Markers(state_dir).read(operation_id, attempt)[1] or {}
        runs = not ended and bool(processes.alive(who) or processes.living(operation_id))
        if not ended and not runs:  # it may have ended, and kept its result, since that was looked for
            ended = Markers(state_dir).read(operation_id, attempt)[1] or {}
    except HostError as error:
        return {"seen": "unknown", "certain": False, "message": error.message}
    if ended:
        return {"seen": "ended", "result": ended, "certain": certain}
    if begun.get("operation") == NEVER:
        return {"seen": "never", "certain": True}
    return {"seen": "running" if runs else "lost", "certain": certain, **_reboot(who)}


def _fenced(markers: Markers, operation_id: str, attempt: int) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    begun, ended = markers.read(operation_id, attempt)
    if begun is None:
        try:
            markers.begin(operation_id, attempt, NEVER, {})
        except HostError as error:
            if error.code != "already_seen":
                raise
        begun, ended = markers.read(operation_id, attempt)
    until = time.monotonic() + _TORN
    while not begun and not ended and time.monotonic() < until:
        time.sleep(_PAUSE)
        begun, ended = markers.read(operation_id, attempt)
    return begun or {}, ended or {}


def _reboot(who: Mapping[str, Any]) -> Dict[str, Any]:
    return {"rebooted": bool(who.get("boot_id")) and who.get("boot_id") != processes.boot_id()}
