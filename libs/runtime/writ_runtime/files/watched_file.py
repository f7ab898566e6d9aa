"""A file which may change at any time: its last good reading, and the problem of a newer one.

A change is another modification time, size or inode. Reading happens in a thread, so a large file blocks nothing.
"""

import asyncio
import os
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Generic, TypeVar

from writ_bus import tasks
from writ_contracts.errors import ConfigError
from writ_runtime.list_reader.lists import SMALL
from writ_runtime.logs import Log

Reading = TypeVar("Reading")
Stamp = tuple[int, int, int, int]

_log = Log("writ.files")


class WatchedFile(Generic[Reading]):
    """`value` is the last good reading; `problem` the fault of the present file, or None."""

    def __init__(self, path: Path, read: Callable[[Path], Reading]) -> None:
        """Read the file. Errors of `read` go to the caller: there is no earlier version to keep."""
        self._path = path
        self._name = str(path)
        self._read = read
        self._stamp = stamp(path)
        self.value = read(path)
        self._taken = -inf
        self.problem: str | None = None
        self._readings = 0
        self._reading = asyncio.Lock()
        self._begun: asyncio.Task[bool] | None = None

    @property
    def age(self) -> float:
        """Return the seconds since another `value` was read; without an end for the first."""
        return time.monotonic() - self._taken

    @property
    def is_current(self) -> bool:
        """Return whether the file is as it was read."""
        return stamp(self._name) == self._stamp

    async def follow(self, interval: float = 1.0) -> None:
        """Check every `interval` seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await self.refresh()

    def begin(self) -> None:
        """Begin to read a changed file, for a `refresh` soon to come."""
        if stamp(self._name) != self._stamp and not self._reading.locked():
            self._begun = tasks.spawn(self.refresh(), "read file")

    async def refresh(self, *, waits: bool = True) -> bool:
        """Read again if the file changed; True if `value` is new. Concurrent callers wait for the same read.

        `waits`: false lets `value` stay while a large file is read. A small one is read in less time than its callers
        would notice.
        """
        now = stamp(self._name)
        if now == self._stamp:
            return False
        if not waits and now is not None and now[1] > SMALL:
            self.begin()
            return False
        readings = self._readings
        async with self._reading:
            now = stamp(self._name)
            if now != self._stamp:
                await self._read_again()
                self._stamp = now  # not before: a reading that is cancelled has not been one
        return self._readings != readings

    async def _read_again(self) -> None:
        try:
            self.value = await asyncio.to_thread(self._read, self._path)
        except Exception as error:  # noqa: BLE001 - whatever a reader has, a good version is there and decides
            self.problem = str(refusal(error, str(self._path)))
            _log.error("file.refused", path=str(self._path), error=self.problem, effect="the last good version stays")
            return
        self.problem, self._taken = None, time.monotonic()
        self._readings += 1
        _log.info("file.read", path=str(self._path))


def refusal(error: Exception, name: str) -> ConfigError:
    """Return a reader's exception as a fault of its file. A defect of the reader refuses the file, too."""
    if isinstance(error, ConfigError):
        return error
    _log.error("file.defect", exception=error, path=name)
    return ConfigError(f"{name}: can't be read for a defect in writ: {type(error).__name__}: {error}")


def stamp(path: Path | str) -> Stamp | None:
    """Return the file's stamp, which changes with it; None if it is absent. Of a `str` it takes half the time."""
    try:
        status = os.stat(path)  # noqa: PTH116 - half the time of Path.stat, and called before every decision
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
