"""End whole trees of processes, including those which left their group, session or parent.

Every process started for an operation has the operation's id in its environment, which its children inherit. So they
are found by it as long as they live, by another agent process as well (Linux, proc(5): /proc/<pid>/environ).
"""

import asyncio
import signal
import time

from writ_hostops import processes

POLL = 0.02


def marked_environ(operation_id: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a process of this operation: `environ` (or only a PATH), and the mark."""
    base = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} if environ is None else environ
    return {**base, processes.MARK: operation_id}


def living(operation_id: str) -> list[int]:
    """Return the living processes of this operation, without zombies. An empty list is confirmed by a second scan,
    since a fork may hide from the first.
    """
    return processes.marked(operation_id) or processes.marked(operation_id)


async def end(operation_id: str, grace: float, force: float = 2.0) -> bool:
    """Send SIGTERM to all of them, and SIGKILL after `grace` seconds. Return whether all have certainly ended
    within `force` seconds of the first SIGKILL.
    """
    began, killed = time.monotonic(), 0.0
    signalled: set[int] = set()
    while left := await asyncio.to_thread(living, operation_id):  # one may fork while the others are killed
        now = time.monotonic()
        if killed and now - killed > force:
            return False
        if now - began < grace:
            processes.kill([pid for pid in left if pid not in signalled], signal.SIGTERM)
            signalled.update(left)
        else:
            killed = killed or now
            processes.kill(left, signal.SIGKILL)
        await asyncio.sleep(POLL)
    return True
