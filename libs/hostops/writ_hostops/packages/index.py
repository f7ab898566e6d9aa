"""apt's index of packages: the time of its last fetch, and fetching it again."""

from __future__ import annotations

import os
from typing import Optional, Tuple

from writ_hostops.packages import apt
from writ_hostops.protocol import OperationCall

LISTS = "/var/lib/apt/lists"
COMMAND = ("update",)


def stamp() -> str:
    """Return the time of the last replacement of a list, in nanoseconds as text; "" without one. The lists' own times
    are the repository's.
    """
    try:
        with os.scandir(LISTS) as entries:
            lists = [entry for entry in entries if entry.is_file() and entry.name != "lock"]
            return str(max((entry.stat().st_ctime_ns for entry in lists), default=""))
    except OSError:
        return ""


def fetched_at() -> Optional[float]:
    """Return the time of the last fetch as Unix seconds; None if there was none."""
    text = stamp()
    return int(text) / 1e9 if text else None


def fetch(call: OperationCall) -> Tuple[str, str]:
    """Fetch the index; return whether a list changed (an effect), and apt's log. HostError if it is not whole."""
    before = stamp()
    ran = apt.change(call, *COMMAND)
    effect = "none" if stamp() == before else "done"
    ran.refuse_stopped("fetching the index", effect)
    if ran.status:
        raise apt.failure(ran, "the index could not be fetched whole", effect)
    return effect, ran.log
