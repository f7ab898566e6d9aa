"""Turns with a file: writers through Writ take one after the other, by flock(2) on a lock file beside it.

The names beside a file follow from its own name (paths.TEMPORARY), so the next turn finds the leftovers of a
crash.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from contextlib import contextmanager
from typing import Iterator

from writ_hostops.errors import HostError, system_errors
from writ_hostops.files.open_beneath import FolderEntry, refuse_irregular
from writ_hostops.stop import CancelToken

_TURN = 0.02


@contextmanager
def locked(place: FolderEntry, stop: CancelToken) -> Iterator[str]:
    """Take this file's lock. Yield the name of a temporary file beside it, which is absent before and afterwards."""
    lock, temporary = (beside(place, ending) for ending in ("lock", "tmp"))
    with system_errors(place.path):
        fd = _take_turn(place, lock, stop)
    try:
        with system_errors(place.path):
            remove(place.folder, temporary)
        yield temporary
    finally:
        # Whatever is left is recognisable, and an error here must not hide what happened before.
        with contextlib.suppress(OSError):
            remove(place.folder, temporary)
        with contextlib.suppress(OSError):
            remove(place.folder, lock)
        os.close(fd)


def beside(place: FolderEntry, ending: str) -> str:
    """Return the name beside the file for this kind of change (paths.TEMPORARY)."""
    return f".writ-{hashlib.sha256(place.name.encode('utf-8')).hexdigest()[:16]}.{ending}"


def remove(folder: int, name: str) -> None:
    """Remove a name from a folder; do nothing if it is absent."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _take_turn(place: FolderEntry, lock: str, stop: CancelToken) -> int:
    while True:
        fd = _open(place, lock)
        try:
            refuse_irregular(os.fstat(fd), f"{place.path}: {lock}")
            if _flock(fd) and _names(place.folder, lock, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        try:
            stop.wait(_TURN)
        except HostError as error:  # also if the folder's owner never releases it
            raise HostError(error.code, f"{place.path}: another process holds {lock}; {error.message}") from error


def _open(place: FolderEntry, lock: str) -> int:
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=place.folder)
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ELOOP, errno.ENXIO):  # the folder's owner may put anything there
            raise HostError("not_a_regular_file", f"{place.path}: {lock} beside it is not a regular file") from error
        raise


def _flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _names(folder: int, name: str, fd: int) -> bool:
    """Return whether the name still is this file. The previous holder of the lock may have removed it."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False
