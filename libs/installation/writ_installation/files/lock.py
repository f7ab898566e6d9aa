"""The lock of `writ up` on `$WRIT_HOME`: the kernel holds it, so a killed process leaves none behind."""

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from writ_contracts.errors import Conflict

TRIES, PAUSE = 10, 0.02


@contextmanager
def held(path: Path, what: str = "Writ is already up on") -> Iterator[None]:
    """Hold the lock while the block runs; raises Conflict with `what` and the process that has it."""
    descriptor = _opened(path, os.O_CREAT)
    try:
        if not _taken(descriptor):
            raise Conflict(f"{what} {path.parent.parent} (process {_content(descriptor)})")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def turn(path: Path) -> AsyncIterator[None]:
    """Hold the lock as `held` does, for short changes: wait until its holder is done."""
    descriptor = _opened(path, os.O_CREAT)
    try:
        while not _try(descriptor):  # noqa: ASYNC110 - another process has it
            await asyncio.sleep(PAUSE)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Try a few times: a process that checks the lock (`holder`) has it for a moment too."""
    for _ in range(TRIES):
        if _try(descriptor):
            return True
        time.sleep(PAUSE)
    return False


def _try(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def holder(path: Path) -> int | None:
    try:
        descriptor = _opened(path)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(_content(descriptor) or 0) or None
    else:
        return None
    finally:
        os.close(descriptor)


def _opened(path: Path, flags: int = 0) -> int:
    """Open the lock, never through a symbolic link that another user could have made: root locks a file in a folder
    of Writ's user. Raises Conflict for such a link.
    """
    trusted = path.parent.parent.stat().st_uid in (0, os.geteuid())  # then the folder itself may be a link
    followed = 0 if trusted else os.O_NOFOLLOW
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | followed)
        try:
            return os.open(path.name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise Conflict(f"{path}: a symbolic link instead of a lock or its folder; it is not followed") from error


def _content(descriptor: int) -> str:
    return os.pread(descriptor, 64, 0).decode(errors="replace").strip()
