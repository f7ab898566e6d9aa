"""Ends whole trees of processes, also those that left their group, session or parent.

Every process that is started for an operation has the operation's id in its environment, which its children inherit;
so they are found by it as long as they live, by another agent process as well (Linux, proc(5): /proc/<pid>/environ).
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
"""Seconds in which an exec is over, however much else there is to do."""


def marked(operation_id: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    """The environment for a process of this operation: `environ` (or nothing but a PATH), and the mark."""
    base = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} if environ is None else environ
    return {**base, MARK: operation_id}


def living(operation_id: str) -> list[int]:
    """The processes of this operation that live now (zombies do not); none only where a second look finds none either,
    since one may be forked behind the first one's back.
    """
    return _marked(operation_id) or _marked(operation_id)


def _marked(operation_id: str) -> list[int]:
    mark = f"{MARK}={operation_id}".encode()
    return [pid for pid in _pids() if _is_ours(pid) and mark in _environ(pid)]


async def end(operation_id: str, grace: float, force: float = 2.0) -> bool:
    """SIGTERM to all of them, SIGKILL to those that live after `grace` seconds. Whether all are seen to be gone,
    `force` seconds after the first SIGKILL at the latest.
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
    """By the real user id: anybody can set an environment variable, also of a setuid program (proc(5), status)."""
    found = [line.split()[1] for line in _read(pid, "status").splitlines() if line.startswith(b"Uid:")]
    return found == [b"%d" % os.getuid()]


def _environ(pid: int) -> list[bytes]:
    """What it was started with; one that is in the middle of an exec shows none for a moment, which is waited for."""
    until = time.monotonic() + BEGINS
    while not (signalled := _read(pid, "environ")) and _begins(pid) and time.monotonic() < until:
        time.sleep(POLL)
    return signalled.split(b"\0")


def _begins(pid: int) -> bool:
    """It has a program and no arguments yet; threads of the kernel and zombies have no program."""
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
