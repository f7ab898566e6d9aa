"""Run a program of the host by an argument vector, without a shell, with bounded output, and end it with all its
children.

The program leads a session of its own, so a cancel or the deadline ends its whole group: SIGTERM, then SIGKILL.
Processes outside the group are found by the mark of the operation. Output beyond MOST_OUTPUT is read and dropped.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple, TypeVar

from writ_hostops import processes
from writ_hostops.errors import HostError, from_os_error
from writ_hostops.processes import MARK
from writ_hostops.stop import CancelToken

MOST_OUTPUT = 16 * 1024 * 1024
MOST_LOG = 64 * 1024
GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
BUSY_PATIENCE = 60.0
"""Seconds of waiting for another process's lock."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_READ = 1 << 16
_POLL = 0.05
_UMASK = 0o022
# What a program would take from it besides our arguments.
_FOREIGN = ("RESTIC_", "APT_", "DPKG_", "DEB", "LC_", "LANGUAGE", "BTRFS_", "ZFS_", "PERL", "PYTHON")

Line = Callable[[str], None]
Attempted = TypeVar("Attempted")


@dataclass(frozen=True)
class ProgramResult:
    """The end of a program. `stopped`: "", `cancelled` or `timeout`, if hostops ended it. `gone`: no process of it is
    left.
    """

    status: int
    out: str
    errors: str
    stopped: str = ""
    gone: bool = True
    cut: bool = False

    @property
    def log(self) -> str:
        """Return the end of its output. It may quote anything, so it goes to secret fields only."""
        return (self.out + self.errors)[-MOST_LOG:]

    def whole(self, what: str) -> str:
        """Return the output; HostError `garbled` if it was too long to keep."""
        if self.cut:
            raise HostError("garbled", f"{what} printed more than {MOST_OUTPUT} bytes")
        return self.out

    def refuse_stopped(self, what: str, effect: str = "none") -> None:
        """Raise HostError `cancelled` or `timeout` if hostops ended the program. `effect`: its possible effect until
        then.
        """
        if self.stopped:
            reason = "was cancelled" if self.stopped == "cancelled" else "did not end in time"
            raise HostError(self.stopped, f"{what} {reason}", effect=effect, certain=self.gone)


def found(name: str) -> str:
    """Return the path of a program; HostError `tool_missing`."""
    path = shutil.which(name, path=_search())
    if path is None:
        raise HostError("tool_missing", f"{name} is not installed on this host")
    return path


def run(
    command: Sequence[str],
    stop: CancelToken,
    *,
    environment: Optional[Mapping[str, str]] = None,
    folder: Optional[int] = None,
    line: Optional[Line] = None,
    goes_on: Optional[Callable[[], bool]] = None,
) -> ProgramResult:
    """Run the command to its end, or until `stop`. `folder`: descriptor of the working folder. `line` gets each line
    of output. `goes_on`: whether a program that was killed has left work going on, which is then waited for.
    """
    stop.check()
    try:
        process = subprocess.Popen(
            [found(command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment({**(environment or {}), **_mark(stop)}),
            cwd="/" if folder is None else f"/proc/self/fd/{folder}",
            pass_fds=() if folder is None else (folder,),
            start_new_session=True,
            umask=_UMASK,
        )
    except OSError as error:
        raise from_os_error(error, f"{command[0]} could not be started") from error
    reader = _Reader(process, line, goes_on)
    try:
        stopped = reader.read_until(stop)
        gone = _end(process, reader, stop.operation_id) if stopped else True
    except BaseException:
        _signal(process, signal.SIGKILL)
        process.wait()
        raise
    finally:
        reader.close()
    # Do not wait for one that the kernel cannot end.
    status = -signal.SIGKILL if process.returncode is None else process.returncode
    return ProgramResult(status, reader.text(0), reader.text(1), stopped, gone, reader.cut)


def while_busy(
    attempt: Callable[[], Attempted],
    is_busy: Callable[[Attempted], bool],
    stop: CancelToken,
    progress: Line,
    who: str,
    advice: str = "",
    patience: float = math.inf,
) -> Attempted:
    """Run `attempt` until the lock is free; HostError `busy` after `patience` seconds, at most BUSY_PATIENCE. `advice`:
    for its message.
    """
    deadline, waited = time.monotonic() + min(BUSY_PATIENCE, patience, stop.remaining() * 0.8), False
    while True:
        ran = attempt()
        if not is_busy(ran):
            if waited:
                progress(no_longer_waits(who))
            return ran
        if time.monotonic() >= deadline:
            raise HostError("busy", f"another program holds the lock of {who}; nothing was done{advice}")
        waited = True
        progress(f"waits for the lock of {who}, which another program holds")
        stop.wait(1.0)


def no_longer_waits(who: str) -> str:
    """Return the report that ends a wait for this lock."""
    return f"the lock of {who} is free"


class _Reader:
    """Reads both outputs at once, keeps the first MOST_OUTPUT bytes of each, and cuts the first into lines."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", line: Optional[Line], goes_on: Optional[Callable[[], bool]]
    ) -> None:
        self.cut = False
        self._process = process
        self._pipes = (process.stdout, process.stderr)
        self._line = line
        self._goes_on = goes_on
        self._kept: Tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._pending = bytearray()
        self._open: Dict[int, int] = {}
        for number, pipe in enumerate(self._pipes):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self._open[pipe.fileno()] = number

    def read_until(self, stop: CancelToken) -> str:
        """Read until the program ends ("") or must end (`cancelled`, `timeout`)."""
        with selectors.PollSelector() as ready:
            ready.register(stop.fileno(), selectors.EVENT_READ)
            for fd in self._open:
                ready.register(fd, selectors.EVENT_READ)
            while self._open or self._process.poll() is None:
                # One that left its pipes to a child of its own has ended all the same.
                quiet = _POLL if not self._open or self._process.poll() is not None else 1.0
                events = [key.fd for key, _ in ready.select(min(quiet, stop.remaining()))]
                if stop.fileno() in events:
                    return "cancelled"
                if not stop.remaining():
                    return "timeout"
                for fd in events:
                    if not self._read_available(fd):
                        ready.unregister(fd)
                if not events and self._process.poll() is not None and not self._is_orphaned():
                    return ""
        return ""

    def _is_orphaned(self) -> bool:
        """Return whether the program was killed while its work goes on, as that of dpkg without its apt-get."""
        return self._goes_on is not None and (self._process.returncode or 0) < 0 and self._goes_on()

    def drain(self) -> None:
        """Read all available output."""
        for fd in list(self._open):
            while self._read_available(fd) > 0 and fd in self._open:
                continue

    def close(self) -> None:
        for pipe in self._pipes:
            if pipe is not None:
                pipe.close()

    def text(self, number: int) -> str:
        """Return the kept text of standard output (0) or standard error (1)."""
        return self._kept[number].decode("utf-8", "replace")

    def _read_available(self, fd: int) -> int:
        """Read from one descriptor. Return the number of bytes: 0 at the end, -1 if nothing is available now."""
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return -1
        number = self._open[fd]
        if not data:
            del self._open[fd]
            return 0
        room = MOST_OUTPUT - len(self._kept[number])
        self._kept[number].extend(data[:room])
        self.cut = self.cut or len(data) > room
        if number == 0 and self._line is not None:
            self._feed_lines(data)
        return len(data)

    def _feed_lines(self, data: bytes) -> None:
        self._pending += data
        *lines, rest = self._pending.split(b"\n")
        self._pending = bytearray(rest[-_READ:])
        for line in lines:
            if self._line is not None:
                self._line(line.decode("utf-8", "replace"))


def _end(process: "subprocess.Popen[bytes]", reader: _Reader, operation_id: str) -> bool:
    """End the program's group and the marked processes outside it. Return whether all have certainly ended."""
    kin = processes.marked(operation_id) if operation_id else []
    ended = _end_group(process, reader, kin)
    return (not operation_id or processes.end({}, operation_id, 0.0)) and ended


def _end_group(process: "subprocess.Popen[bytes]", reader: _Reader, kin: List[int]) -> bool:
    _signal(process, signal.SIGTERM)
    processes.kill(kin, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and not _gone(process):
        reader.drain()
        time.sleep(_POLL)
    deadline = time.monotonic() + GRACE
    while True:
        _signal(process, signal.SIGKILL)
        reader.drain()
        if _gone(process):
            process.wait()
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)


def _gone(process: "subprocess.Popen[bytes]") -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return not any(_is_living(entry, process.pid) for entry in os.listdir("/proc") if entry.isdigit())


def _is_living(pid: str, group: int) -> bool:
    """Return whether the process belongs to the group and runs. A zombie, whose parent has not reaped it, does nothing
    any more.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, _, its_group = file.read().rpartition(") ")[2].split()[:3]
    except OSError:
        return False
    return int(its_group) == group and state not in "ZX"


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _search() -> str:
    return os.environ.get("PATH") or _PATH


def _mark(stop: CancelToken) -> Dict[str, str]:
    return {MARK: stop.operation_id} if stop.operation_id else {}


def _environment(more: Mapping[str, str]) -> Dict[str, str]:
    """Return this process's environment without the variables that change the meaning of arguments."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {"HOME": "/root", **kept, "PATH": _search(), "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", **more}
