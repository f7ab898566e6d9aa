"""Process identities, so another process can later find out if one lives, and end it with its descendants.

A pid alone identifies nothing for long. With its start time and the boot id it identifies one process for good
(proc(5)). Processes started for an operation have the operation's id in their environment, which children inherit.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from typing import Any, Callable, Dict, List, Mapping

MARK = "WRIT_OPERATION_ID"
_POLL = 0.02
_FORCE = 2.0
_BEGINS = 1.0
"""Seconds within which a fork execs its program, or ends."""
_EXEC = 0.5
"""Seconds for an exec under any load."""
_AT_ONCE = 65536
"""Bytes."""


def boot_id() -> str:
    """Return the id of the present boot; "" if it cannot be read now, such as for lack of descriptors."""
    try:
        return _known_boot_id()
    except LookupError:
        return ""


@functools.lru_cache(maxsize=1)
def _known_boot_id() -> str:
    """Return the id of the present boot. No process outlives its boot. Raises LookupError, which is not remembered."""
    found = _read("/proc/sys/kernel/random/boot_id").strip()
    if not found:
        raise LookupError("no boot id")
    return found


def boot_time() -> float:
    """Return seconds since boot, suspend included. Nobody can set this clock. Python 3.6 has no name for it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", 7))


def identity() -> Dict[str, Any]:
    """Return this process's permanent identity."""
    return {"pid": os.getpid(), "start": _start(os.getpid()), "boot_id": boot_id()}


def alive(who: Mapping[str, Any]) -> bool:
    """Return whether the process with that identity lives."""
    pid, start = who.get("pid"), who.get("start")
    return isinstance(pid, int) and bool(start) and who.get("boot_id") == boot_id() and _start(pid) == start


def marked(operation_id: str) -> List[int]:
    """Return this user's living processes that were started for an operation. Other programs can set the variable as
    well.
    """
    mark = f"{MARK}={operation_id}".encode("utf-8", "surrogateescape")
    # The mark first: few processes have it, and all others then cost one file instead of two.
    return [pid for pid in _pids() if pid != os.getpid() and mark in _environ(pid).split(b"\0") and _is_ours(pid)]


def living(operation_id: str) -> List[int]:
    """Return the living processes, as `marked` does. A new fork shows its mark only after its exec, so an empty list is
    confirmed first.
    """
    until = time.monotonic() + _BEGINS
    processes = marked(operation_id)
    while not processes and _beginning() and time.monotonic() < until:
        time.sleep(_POLL)
        processes = marked(operation_id)
    return processes or marked(operation_id)


def kill(pids: List[int], number: int) -> None:
    """Send a signal to each process that still exists."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def kill_group(leader: int, number: int) -> None:
    """Send a signal to the whole group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _not_ended() -> bool:
    return False


def end(who: Mapping[str, Any], operation_id: str, grace: float, has_ended: Callable[[], bool] = _not_ended) -> bool:
    """Send SIGTERM, and SIGKILL after the grace, to a process, its group and its kin. Return whether all are seen to
    be gone, or the process `has_ended` the operation and serves another.
    """
    began, killed = time.monotonic(), 0.0

    def runs() -> bool:
        return alive(who) and not has_ended()

    if runs():
        kill([int(who["pid"])], signal.SIGTERM)
    while runs() or living(operation_id):
        now = time.monotonic()
        if killed and now - killed > _FORCE:
            return False
        if now - began >= grace or not runs():
            killed = killed or now
            if runs():
                kill_group(int(who["pid"]), signal.SIGKILL)
            kill(marked(operation_id), signal.SIGKILL)
        time.sleep(_POLL)
    return True


def _is_ours(pid: int) -> bool:
    """Return whether the process is ours by real user id: another user's setuid program runs with our effective one
    (proc(5), status).
    """
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[1]) == os.getuid()
    return False


def _environ(pid: int) -> bytes:
    """Return the process's initial environment. During an exec it is empty for a moment, which is waited for if the
    process is ours.
    """
    until = time.monotonic() + _EXEC
    while True:
        data = _read_bytes(f"/proc/{pid}/environ")
        if data or not (_in_exec(pid) and _is_ours(pid)) or time.monotonic() > until:
            return data
        time.sleep(_POLL)


def _in_exec(pid: int) -> bool:
    """Return whether it has a program and no arguments yet; kernel threads and zombies have no program."""
    try:
        return not _read_bytes(f"/proc/{pid}/cmdline") and bool(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return False


def _beginning() -> bool:
    """Return whether a fork of a dead process of ours may exist. It looks like us or shows nothing yet, and its parent
    is the reaper of orphans, one of our ancestors.
    """
    ours, above = _read("/proc/self/cmdline"), _ancestors()
    reapers = [pid for pid in above if _read(f"/proc/{pid}/cmdline") != ours]
    orphans = [pid for pid in _pids() if pid not in (os.getpid(), *above) and _parent(pid) in reapers and _is_ours(pid)]
    return any(_resembles(pid, ours) for pid in orphans)


def _resembles(pid: int, ours: str) -> bool:
    return _read(f"/proc/{pid}/cmdline") == ours or _in_exec(pid)


def _ancestors() -> List[int]:
    ancestors = [os.getppid()]
    while (parent := _parent(ancestors[-1])) > 0:
        ancestors.append(parent)
    return ancestors


def _parent(pid: int) -> int:
    """Return the parent's pid; 0 for a process that is gone, or whose parent is outside this namespace."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _start(pid: int) -> str:
    """Return the start time in ticks since boot; "" for a process that is gone or a zombie."""
    fields = _stat(pid)
    return fields[19] if fields else ""


def _stat(pid: int) -> List[str]:
    """Return the fields of /proc/<pid>/stat behind the name (proc(5)); none for a process that is gone or a zombie."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return [] if len(fields) < 20 or fields[0] in ("Z", "X") else fields


def _pids() -> List[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(path: str) -> str:
    return _read_bytes(path).decode("utf-8", "surrogateescape")


def _read_bytes(path: str) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # gone meanwhile, or another user's
        return b""
    try:
        parts = []
        while part := os.read(file, _AT_ONCE):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(file)
