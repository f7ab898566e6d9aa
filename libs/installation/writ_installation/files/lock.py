"""The lock of `writ up` on `$WRIT_HOME`: the kernel holds it, so a killed process leaves none behind."""

import asyncio
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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _taken(descriptor):
            raise Conflict(f"{what} {path.parent.parent} (process {_content(path)})")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def turn(path: Path) -> AsyncIterator[None]:
    """Hold the lock as `held` does, for short changes: wait until its holder is done."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
    """Return the process holding it, or None."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(_content(path) or 0) or None
    else:
        return None
    finally:
        os.close(descriptor)


def _content(path: Path) -> str:
    return path.read_text(errors="replace").strip()
