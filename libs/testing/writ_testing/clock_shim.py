"""Shift the clocks of this very process by a test's file. Only a `.pth` file of `shifted_python` loads it.

The file is `<$WRIT_TEST_CLOCKS>/<name of the process>.json`: `wall` and `boot` are added to the clocks, and `drift` is
the seconds that the wall clock gains each second. It is read again when it changes. No product code knows of it, and
without the variable nothing is shifted.
"""

import json
import os
import time
from pathlib import Path

FOLDER = "WRIT_TEST_CLOCKS"
RUN_FILE = "WRIT_RUN_FILE"
_BOOT, _WALL = getattr(time, "CLOCK_BOOTTIME", 7), getattr(time, "CLOCK_REALTIME", 0)
_real_time, _real_gettime = time.time, time.clock_gettime


class _Shift:
    """The present content of the file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp = (0, 0)
        self._since = _real_time()
        self._values: dict[str, float] = {}

    def of(self, name: str) -> float:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - called at each look at a clock
        except FileNotFoundError:
            return 0.0
        stamp = (found.st_ino, found.st_mtime_ns)  # two files within a tick of the kernel's clock have the same time
        if stamp != self._stamp:
            self._stamp, self._since = stamp, _real_time()
            self._values = json.loads(Path(self._path).read_text())
        drift = self._values.get("drift", 0.0) * (_real_time() - self._since) if name == "wall" else 0.0
        return self._values.get(name, 0.0) + drift


def _install(shift: _Shift) -> None:
    def wall() -> float:
        return _real_time() + shift.of("wall")

    def gettime(clock: int) -> float:
        name = {_BOOT: "boot", _WALL: "wall"}.get(clock)
        return _real_gettime(clock) + (shift.of(name) if name else 0.0)

    time.time = wall
    time.clock_gettime = gettime


if FOLDER in os.environ and RUN_FILE in os.environ:
    _install(_Shift(f"{os.environ[FOLDER]}/{Path(os.environ[RUN_FILE]).stem}.json"))
