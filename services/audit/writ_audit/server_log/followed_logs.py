"""Read the logs of one or several NATS servers from where the former process stopped.

Several audit services may be started with the same logs. One of them alone returns lines, so that each refusal is
recorded once; another one takes over when it ends.
"""

import fcntl
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from writ_audit.server_log.file_times import to_unix
from writ_audit.server_log.refusal import FailedLogin
from writ_audit.server_log.tail import LogPosition, LogTail
from writ_contracts.errors import ConfigError
from writ_runtime.files.state_file import StateFile
from writ_runtime.logs import Log

FILE = "nats-log.json"
PATTERN = "*.log"
"""Logs in a folder. Their former parts, which nats-server renames to NAME.log.DATE, do not match."""
TAKEN_OVER, MOST_TAKEN_OVER = 2.0, 10_000
"""Seconds, and lines: what another process may not have returned when it ended. Some is returned twice, none is lost.
"""

_log = Log("writ.audit")


class UnjudgedLogin(Struct, frozen=True, kw_only=True):
    """Failed logins by one key that a stopped process had read, and not yet recorded. `at`: Unix time of the first."""

    failed: FailedLogin
    at: float
    count: int


class LogPositions(Struct, frozen=True, kw_only=True):
    """The content of the state file: by name of a log, where its next line begins. `at`: Unix time of the writing."""

    logs: dict[str, LogPosition] = {}
    unjudged: Sequence[UnjudgedLogin] = ()
    at: float


class FollowedLogs:
    """`read` returns the lines of all logs since the last call. It reads files: call it in a thread."""

    def __init__(self, path: Path, state_dir: Path | None = None) -> None:
        """`path`: a log, or a folder of logs. `state_dir`: keeps the positions; without it they begin at the end."""
        self._path = path
        self._state = None if state_dir is None else StateFile(state_dir / FILE, LogPositions)
        self.former = self._read_former()
        """What the former process wrote."""
        self._saved = self.former
        self._tails: dict[Path, LogTail] = {}
        self._lock: int | None = None
        self._left_out = deque[tuple[float, str]](maxlen=MOST_TAKEN_OVER)
        """The last lines that another process returns, and when they were read."""
        self.problem = ""
        """Why a log was not read at the last attempt, while others were."""
        self.is_standby = False
        """Whether another process returned the lines at the last attempt."""
        for log in self._present():
            self._tails[log] = LogTail(log, self.former.logs.get(log.name))

    @property
    def skipped(self) -> int:
        """Return the number of bytes skipped so far, since they were too many."""
        return sum(tail.skipped for tail in self._tails.values())

    def read(self) -> tuple[list[str], bool]:
        """Return the next whole lines, and whether there may be more. Raises OSError: no log can be read now."""
        self._take_lock()
        lines, more, failed = list[str](), False, list[OSError]()
        present = self._present()
        if not present:
            raise FileNotFoundError(f"{self._path} has no {PATTERN}")
        for log in present:
            if log not in self._tails:
                self._tails[log] = self._new(log)
            try:
                found, rest = self._tails[log].read()
            except OSError as error:  # it holds up no other log
                failed.append(error)
                continue
            lines += found
            more |= rest
        if len(failed) == len(present):
            raise failed[0]
        self.problem = str(failed[0]) if failed else ""
        return self._own(lines), more

    def save(self, unjudged: Sequence[UnjudgedLogin]) -> None:
        """Keep the present positions, and the logins that were read before them, for the next process."""
        try:
            logs = {log.name: place for log, tail in self._tails.items() if (place := tail.place()) is not None}
            if self._state is None or (logs, list(unjudged)) == (self._saved.logs, list(self._saved.unjudged)):
                return
            positions = LogPositions(logs=logs, unjudged=unjudged, at=to_unix(time.monotonic()))
            self._state.write(positions)
            self._saved = positions
        except OSError as error:
            _log.warning("nats_log.position_not_saved", error=str(error))

    def close(self) -> None:
        """Close all files, and let another service read."""
        for tail in self._tails.values():
            tail.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _read_former(self) -> LogPositions:
        try:
            former = self._state.read() if self._state is not None else None
        except ConfigError as error:
            _log.warning("nats_log.position_not_read", error=str(error))
            former = None
        return LogPositions(at=to_unix(time.monotonic())) if former is None else former

    def _new(self, log: Path) -> LogTail:
        """Return the tail of a log that appeared while this process ran, or was unreadable before."""
        tail = LogTail(log, self.former.logs.get(log.name))
        if log.name not in self.former.logs:
            tail.close()  # it is read from its beginning
        return tail

    def _present(self) -> list[Path]:
        if not self._is_folder():
            return [self._path]
        return sorted(self._path.glob(PATTERN))

    def _is_folder(self) -> bool:
        with suppress(OSError):  # a folder on the way to it is not open to this user: reading says so
            return self._path.is_dir()
        return False

    def _own(self, lines: list[str]) -> list[str]:
        """Return what this process is to return: nothing while another one returns it."""
        now = time.monotonic()
        while self._left_out and self._left_out[0][0] < now - TAKEN_OVER:
            self._left_out.popleft()
        if self.is_standby:
            self._left_out.extend((now, line) for line in lines)
            return []
        taken_over = [line for _, line in self._left_out]
        self._left_out.clear()
        return taken_over + lines

    def _take_lock(self) -> None:
        """Have this process, of those that follow these logs, return their lines, unless another one does."""
        if self._lock is not None:
            return
        folder = self._path if self._is_folder() else self._path.parent
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # flock(2) needs no permission to write
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lock, self.is_standby = lock, False
            return
        os.close(lock)
        self.is_standby = True
