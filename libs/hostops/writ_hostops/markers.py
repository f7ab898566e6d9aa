"""Durable marks of operations begun here, so none is carried out twice and a probe knows the intended result.

`<id>.<attempt>.begun` is synced to disk before the effect, for a write while it prepares it; `….ended` (the result)
after it. Neither holds a parameter or a secret output; the folder is private to the user of hostops. Marks older than
KEPT are swept once a day.

The folder has a clock of its own for ages, since the host's clock may be set by days at any time: seconds of
CLOCK_BOOTTIME, summed over boots in `.clock`. A mark's modification time is the folder's time of its creation. While
the host is off, and for up to NOTED before, that clock stands still: a mark then stays longer, never shorter.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from typing import Any, BinaryIO, Dict, Mapping, NamedTuple, Optional, Tuple

from writ_hostops import processes
from writ_hostops.errors import HostError, system_errors
from writ_hostops.thread_call import ThreadCall

KEPT = 7 * 86400.0
"""Seconds; far longer than an operation may be retried."""
_SWEEP_EVERY = 86400.0
NOTED = 3600.0
"""Seconds between notes of the folder's time."""
_CLOCK = ".clock"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Markers:
    """The marks in one state folder, which is created if absent."""

    def __init__(self, state_dir: str) -> None:
        self._path = state_dir

    def begin(self, operation_id: str, attempt: int, operation: str, expected: Mapping[str, Any]) -> None:
        """Mark the operation as begun by this process; HostError `already_seen` for a known one."""
        self.write_begun(operation_id, attempt, operation, expected).wait()

    def write_begun(self, operation_id: str, attempt: int, operation: str, expected: Mapping[str, Any]) -> MarkSync:
        """Write the mark as `begin` does. Return its sync, for which the effect must wait."""
        record = {
            "operation": operation,
            "begun": time.time(),  # for people
            "expected": dict(expected),
            "process": processes.identity(),
        }
        with contextlib.ExitStack() as opened:
            folder = opened.enter_context(_Folder(self._path))
            try:
                file = opened.enter_context(folder.create(_name(operation_id, attempt, "begun"), record))
            except FileExistsError:
                raise HostError("already_seen", f"operation {operation_id} was begun here before") from None
            return MarkSync(folder, file, opened.pop_all())

    def end(self, operation_id: str, attempt: int, result: Mapping[str, Any]) -> None:
        with _Folder(self._path) as folder:
            folder.put(_name(operation_id, attempt, "ended"), result)

    def read(self, operation_id: str, attempt: int) -> Tuple[Optional[Dict[str, Any]], Optional[Dict[str, Any]]]:
        """Return the mark of the beginning and the result; None for an absent one."""
        with _Folder(self._path) as folder:
            begun = folder.get(_name(operation_id, attempt, "begun"))
            return begun, folder.get(_name(operation_id, attempt, "ended"))

    def has_ended(self, operation_id: str, attempt: int) -> bool:
        """Return whether the result is kept."""
        return os.path.exists(os.path.join(self._path, _name(operation_id, attempt, "ended")))


class MarkSync:
    """The sync of a new mark to disk: in a thread beside the preparation of the effect, or in `wait`."""

    def __init__(self, folder: _Folder, file: BinaryIO, opened: contextlib.ExitStack) -> None:
        """`opened` closes both."""
        self._folder, self._file, self._opened = folder, file, opened
        self._begun: Optional[ThreadCall[None]] = None
        self._is_done = False

    def start(self) -> None:
        """Begin to sync."""
        self._begun = ThreadCall(self._sync)

    def wait(self) -> None:
        """Return once the mark is on the disk. Raises HostError if it is not."""
        if self._begun is not None:
            self._begun.result()
        elif not self._is_done:
            self._sync()
            self._is_done = True

    def _sync(self) -> None:
        with self._opened:
            self._folder.sync(self._file)
            self._folder.sweep()


def _name(operation_id: str, attempt: int, what: str) -> str:
    return f"{operation_id}.{attempt}.{what}"


class _FolderTime(NamedTuple):
    """The folder's time `now`, at `boot` seconds after the boot with that id. The last sweep was at `swept`."""

    boot: float
    boot_id: str
    now: float
    swept: float


def _read_time(record: Mapping[str, Any]) -> Optional[_FolderTime]:
    """Return the noted time; None if it was never noted or is damaged."""
    numbers = [record.get(name) for name in ("boot", "now", "swept")]
    if not all(isinstance(number, float) for number in numbers):
        return None
    return _FolderTime(record["boot"], str(record.get("boot_id")), record["now"], record["swept"])


class _Folder:
    """The opened state folder. A folder that others could write to is refused."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> _Folder:
        with system_errors(self._path):
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            self._fd = os.open(self._path, _FOLDER)
        status = os.fstat(self._fd)
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            os.close(self._fd)
            raise HostError("permission_denied", f"{self._path} must belong to this user alone (mode 0700)")
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)

    def create(self, name: str, record: Mapping[str, Any]) -> BinaryIO:
        """Write a new file and return it, for `sync`; FileExistsError if it exists. A torn one (from a crash) counts as
        begun.
        """
        return self._write(name, record, os.O_EXCL, self._time().now)

    def sync(self, file: BinaryIO) -> None:
        """Sync a new file and its name."""
        with system_errors(self._path):
            os.fsync(file.fileno())
            os.fsync(self._fd)

    def put(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a durable file, whole or not at all."""
        self._replace(name, name + ".tmp", record, self._time().now)
        with system_errors(self._path):
            os.fsync(self._fd)

    def get(self, name: str) -> Optional[Dict[str, Any]]:
        """Return the record; None if absent. A torn one, left only by a crash at the begin, is an empty record."""
        with system_errors(self._path):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
            except FileNotFoundError:
                return None
            with open(fd, "rb") as file:
                data = file.read()
        try:
            record = json.loads(data)
        except ValueError:
            return {}
        return record if isinstance(record, dict) else {}

    def sweep(self) -> None:
        """Remove files older than KEPT, at most once a day. A file that another process sweeps or renames meanwhile is
        ignored.
        """
        time_here = self._time()
        if time_here.now - time_here.swept < _SWEEP_EVERY:
            return
        with system_errors(self._path):
            for name in os.listdir(self._fd):
                if name != _CLOCK:
                    with contextlib.suppress(FileNotFoundError):
                        self._sweep(name, time_here.now)
        self._note(time_here._replace(swept=time_here.now))

    def _sweep(self, name: str, now: float) -> None:
        made_at = os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mtime
        if made_at > now:  # by the host's clock: of an earlier release, or a file that was left half-made
            os.utime(name, (now, now), dir_fd=self._fd, follow_symlinks=False)
        elif now - made_at > KEPT:
            os.unlink(name, dir_fd=self._fd)

    def _time(self) -> _FolderTime:
        """Return the folder's time. It is noted again if the last note is old or from an earlier boot."""
        boot, boot_id = processes.boot_time(), processes.boot_id()
        noted = _read_time(self.get(_CLOCK) or {})
        if noted is None:
            return self._note(_FolderTime(boot, boot_id, now=_SWEEP_EVERY, swept=0.0))
        same = noted.boot_id == boot_id
        passed = boot - noted.boot if same else boot
        now = noted._replace(boot=boot, boot_id=boot_id, now=noted.now + max(passed, 0.0))
        return now if same and passed < NOTED else self._note(now)

    def _note(self, now: _FolderTime) -> _FolderTime:
        self._replace(_CLOCK, f"{_CLOCK}.{os.getpid()}.tmp", now._asdict())
        return now

    def _replace(self, name: str, draft: str, record: Mapping[str, Any], made_at: Optional[float] = None) -> None:
        """Write the draft and rename it. A draft that could not be written is removed: a full disk needs the room."""
        try:
            with self._write(draft, record, os.O_TRUNC, made_at) as file, system_errors(self._path):
                os.fsync(file.fileno())
            with system_errors(self._path):
                os.rename(draft, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except HostError:
            with contextlib.suppress(OSError):
                os.unlink(draft, dir_fd=self._fd)
            raise

    def _write(self, name: str, record: Mapping[str, Any], flag: int, made_at: Optional[float] = None) -> BinaryIO:
        """Return the written file, which is open and not synced."""
        data = json.dumps(record).encode("utf-8")
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flag
        try:
            fd = os.open(name, flags, 0o600, dir_fd=self._fd)
        except FileExistsError:
            raise
        except OSError as error:
            with system_errors(self._path):
                raise error
        with system_errors(self._path), contextlib.ExitStack() as failed:
            file = failed.enter_context(open(fd, "wb"))
            file.write(data)
            file.flush()
            if made_at is not None:
                os.utime(file.fileno(), (made_at, made_at))
            failed.pop_all()
            return file
