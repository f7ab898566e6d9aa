"""End whole trees of processes, including those which left their group, session or parent.

Every process started for an operation has the operation's id in its environment, which its children inherit. So they
are found by it as long as they live, by another agent process as well (Linux, proc(5): /proc/<pid>/environ).
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "WRIT_OPERATION_ID"
POLL = 0.02
BEGINS = 0.5
"""Seconds for an exec under any load."""


def marked(operation_id: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a process of this operation: `environ` (or only a PATH), and the mark."""
    base = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} if environ is None else environ
    return {**base, MARK: operation_id}


def living(operation_id: str) -> list[int]:
    """Return the living processes of this operation, without zombies. An empty list is confirmed by a second scan,
    since a fork may hide from the first.
    """
    return _marked(operation_id) or _marked(operation_id)


def _marked(operation_id: str) -> list[int]:
    mark = f"{MARK}={operation_id}".encode()
    return [pid for pid in _pids() if _is_ours(pid) and mark in _environ(pid)]


async def end(operation_id: str, grace: float, force: float = 2.0) -> bool:
    """Send SIGTERM to all of them, and SIGKILL after `grace` seconds. Return whether all are seen to be gone within
    `force` seconds of the first SIGKILL.
    """
    began, killed = time.monotonic(), 0.0
    signalled: set[int] = set()
    while left := await asyncio.to_thread(living, operation_id):  # one may fork while the others are killed
        now = time.monotonic()
        if killed and now - killed > force:
            return False
        if now - began < grace:
            _signal([pid for pid in left if pid not in signalled], signal.SIGTERM)
            signalled.update(left)
        else:
            killed = killed or now
            _signal(left, signal.SIGKILL)
        await asyncio.sleep(POLL)
    return True


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _is_ours(pid: int) -> bool:
    """Return whether the process is ours by real user id: anybody can set an environment variable, also of a setuid
    program (proc(5), status).
    """
    found = [line.split()[1] for line in _read(pid, "status").splitlines() if line.startswith(b"Uid:")]
    return found == [b"%d" % os.getuid()]


def _environ(pid: int) -> list[bytes]:
    """Return the process's initial environment. During an exec it is empty for a moment, which is waited for."""
    until = time.monotonic() + BEGINS
    while not (signalled := _read(pid, "environ")) and _begins(pid) and time.monotonic() < until:
        time.sleep(POLL)
    return signalled.split(b"\0")


def _begins(pid: int) -> bool:
    """Return whether it has a program and no arguments yet; kernel threads and zombies have no program."""
    try:
        return not _read(pid, "cmdline") and bool(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return False


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # gone meanwhile, or another user's, which none of ours is
        return b""


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        if pid != os.getpid():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
