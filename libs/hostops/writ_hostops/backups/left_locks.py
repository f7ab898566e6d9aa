"""Find the locks of a restic repository whose process has ended.

`restic unlock` cannot be trusted with that. It takes a process that it may not signal for ended: run by another user
than root, it removes the lock of root's running prune. It cannot see the processes of another PID namespace either, and
it sends SIGHUP to whichever process has the id by now. So it runs only if `is_left` holds for every lock.
"""

from __future__ import annotations

import json
import os


def is_left(lock: str) -> bool:
    """Return whether a process of this user on this host, which is gone, left the lock. `lock`: as `restic cat lock`
    prints it.
    """
    try:
        found = json.loads(lock)
        process, user = found["pid"], found.get("uid", 0)  # restic leaves out the user id 0
        is_own = (found["hostname"], user) == (os.uname().nodename, os.getuid())
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return is_own and isinstance(process, int) and process > 0 and not _is_alive(process)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
