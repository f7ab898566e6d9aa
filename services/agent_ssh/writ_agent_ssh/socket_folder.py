"""The private folder of forwarded sockets. A process that is killed leaves it; the next agent removes it.

The process holds a lock in it (flock(2)), which the kernel releases however the process ends. A folder without the lock
is not touched: it may be of another release, or be in the making.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "writ-engines-"
LOCK = "lock"


class SocketFolder:
    """A new folder for this process alone."""

    def __init__(self) -> None:
        remove_leftovers(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        made = self.path / f"{LOCK}.new"
        self._lock = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        made.rename(self.path / LOCK)  # under its name it is locked from the beginning

    def remove(self) -> None:
        shutil.rmtree(self.path)
        os.close(self._lock)


def remove_leftovers(parent: Path) -> None:
    """Remove this user's folders whose process has ended."""
    for folder in parent.glob(f"{PREFIX}*"):
        with _unused(folder) as unused:
            if unused:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _unused(folder: Path) -> Iterator[bool]:
    """Hold the lock of the folder, and yield whether that was possible."""
    try:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            yield False
            return
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # no lock, or it is gone meanwhile
        yield False
        return
    try:
        yield _taken(lock)
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
