"""Quarantine: a host whose bytes were being read when the agent was killed is set aside, so the others are served.

While bytes of a host are read, the target's name is in a memory page that is also a file. The kernel keeps the page
when it kills the process (out of memory, SIGKILL), and the next start finds the name there.
"""

import json
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from writ_contracts.errors import Untrusted
from writ_documents.atomic_files import write_atomically
from writ_runtime.logs import Log

FIRST_SECONDS, LONGEST_SECONDS = 60.0, 3600.0
"""Seconds for which a host is set aside: at first, and at most; each time doubles."""
FORGOTTEN_AFTER = 7 * 86400.0
_SIZE, _LONGEST_NAME = 256, 255
_log = Log("writ.agent.ssh")


class HostReading:
    """Entered while bytes of one target's host are read."""

    def __init__(self, page: mmap.mmap | bytearray, target: str) -> None:
        name = target.encode()[:_LONGEST_NAME]
        self._page, self._entry = page, bytes([len(name)]) + name

    def __enter__(self) -> Self:
        self._page[: len(self._entry)] = self._entry
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._page[0] = 0


class HostQuarantine:
    """The hosts that are set aside. `folder`: the agent's state, which outlives it; None keeps nothing."""

    def __init__(self, folder: Path | None, clock: Callable[[], float] = time.time) -> None:
        """Find out whether reading a host's bytes ended the agent before."""
        self._clock = clock
        self._page: mmap.mmap | bytearray = bytearray(_SIZE)
        self._known: dict[str, tuple[int, float]] = {}
        if folder is not None:
            self._path = folder / "set_aside.json"
            self._page, self._known = _page(folder / "reading"), _read(self._path)
            self._blame(bytes(self._page[1 : 1 + self._page[0]]).decode(errors="replace"))

    def reading(self, target: str) -> HostReading:
        """Return the context of a connection to this target."""
        return HostReading(self._page, target)

    def check(self, target: str) -> None:
        """Raises Untrusted (`set_aside`) for a host that is set aside."""
        times, until = self._known.get(target, (0, 0.0))
        left = until - self._clock()
        if 0 < left <= LONGEST_SECONDS:
            what = f"the agent was killed {times} times while it read what {target} sent"
            raise Untrusted(f"{what}; the host is set aside for {left:.0f} s", code="set_aside")

    def close(self) -> None:
        """Release the page; nothing is read any more."""
        if isinstance(self._page, mmap.mmap):
            self._page.close()

    def _blame(self, target: str) -> None:
        self._page[0] = 0
        if not target:
            return
        now = self._clock()
        self._known = {name: one for name, one in self._known.items() if now - one[1] < FORGOTTEN_AFTER}
        times = self._known.get(target, (0, 0.0))[0] + 1
        seconds = min(FIRST_SECONDS * 2.0 ** min(times - 1, 10), LONGEST_SECONDS)
        self._known[target] = (times, now + seconds)
        write_atomically(self._path, json.dumps(self._known).encode())
        _log.error("ssh.set_aside", target=target, times=times, seconds=seconds)


def _page(path: Path) -> mmap.mmap:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, _SIZE)
        return mmap.mmap(fd, _SIZE)
    finally:
        os.close(fd)


def _read(path: Path) -> dict[str, tuple[int, float]]:
    """Return the kept entries; none if the file is absent or torn by a crash of the machine."""
    try:
        found = json.loads(path.read_text())
        return {str(name): (int(times), float(until)) for name, (times, until) in found.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}
