"""A start of `writ up` in a session of its own, which is awaited. If it fails or is interrupted, nothing goes on."""

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from writ_contracts.errors import Conflict, Invalid, TimedOut, Unreachable, WritError
from writ_installation.backends import MODULE
from writ_installation.files.home import Home
from writ_installation.files.lock import held, holder
from writ_installation.nats import disk
from writ_installation.processes.child import SLOW_SECONDS, START_SECONDS, ShowLine, quoted
from writ_installation.processes.report import InstallationReport, read_report

UP_WITHIN = START_SECONDS + 60.0
"""Time for a start: NATS, then all services at once."""
END_WITHIN = 30.0
PAUSE = 0.05
_KINDS: Mapping[int, type[WritError]] = {2: Invalid, 4: TimedOut, 6: Unreachable}
"""The error for an exit status of the process; any other is a WritError, as which the command ends with 1."""


def private_log(path: Path) -> BinaryIO:
    """Open a log to append to, which nobody else may read or write, whatever the umask is."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "ab")


class StartReports:
    """Reports of a start that takes long, less and less often: it names the processes that are not ready."""

    def __init__(self, show: ShowLine, after: float = SLOW_SECONDS) -> None:
        self._show = show
        self._began = time.monotonic()
        self._after = after

    def waiting(self, report: InstallationReport | None) -> None:
        """Show what is still awaited, if it is time to."""
        if time.monotonic() - self._began > self._after:
            awaited = [one.name for one in report.processes if one.state != "ready"] if report else []
            names = ", ".join(awaited) or "the start"
            self._show(f"not ready after {self._after:g} s: still waiting for {names}; Ctrl-C ends the wait")
            self._after *= 2


def start_session(arguments: Sequence[str], output: BinaryIO) -> subprocess.Popen[bytes]:
    """Start `writ up` with these arguments in a session of its own."""
    return subprocess.Popen(
        [*MODULE, "writ_cli", "up", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


async def detach(home: Home, arguments: Sequence[str], show: ShowLine, within: float = UP_WITHIN) -> InstallationReport:
    """Start `writ up` in a session of its own, and return when it is ready. Raises its error, as the class that gives
    the same exit status: Invalid for 2, a user's mistake, TimedOut for 4, Unreachable for 6, WritError for any other.
    `show` gets a line where the start takes long.
    """
    existed = home.root.exists()
    disk.check_room_for_new(home)
    home.make_folders()
    log = home.log / "up.log"
    with private_log(log) as output:
        before = output.tell()
        process = start_session(arguments, output)
    try:
        return await _ready(home, process, log, before, within, StartReports(show))
    except BaseException:
        await _end(process)
        if not existed:
            _remove_unused(home)
        raise


async def until_started(home: Home, show: ShowLine, within: float = UP_WITHIN) -> None:
    """Wait while another `writ up` starts this installation. Raises Unreachable after `within` seconds."""
    deadline, reports = time.monotonic() + within, StartReports(show)
    while (pid := holder(home.lock)) is not None:
        report = read_report(home.report_file)
        if report is None or report.state != "starting":
            return
        if time.monotonic() > deadline:
            raise Unreachable(f"process {pid}, which starts Writ on {home.root}, is not ready after {within:g} s")
        reports.waiting(report)
        await asyncio.sleep(PAUSE)


def _remove_unused(home: Home) -> None:
    """Remove the folder, from which the process removed the rest, unless it is or becomes that of an installation."""
    with suppress(OSError, Conflict), held(home.lock):  # another start may have begun meanwhile
        if not home.installation_file.exists():
            shutil.rmtree(home.root, ignore_errors=True)


async def _ready(
    home: Home, process: subprocess.Popen[bytes], log: Path, before: int, within: float, reports: StartReports
) -> InstallationReport:
    deadline = time.monotonic() + within
    while (report := read_report(home.report_file)) is None or report.pid != process.pid or report.state != "ready":
        if process.poll() is not None:
            kind = _KINDS.get(process.returncode, WritError)
            raise kind(_why_it_ended(home, process.returncode, log, before))
        if time.monotonic() > deadline:
            raise Unreachable(f"writ up is not ready after {within:g} s{quoted(log, since=before)}")
        reports.waiting(report if report is not None and report.pid == process.pid else None)
        await asyncio.sleep(PAUSE)
    return report


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Have it stop everything in order, and wait for that: an interrupted user expects that nothing goes on."""
    deadline = time.monotonic() + END_WITHIN
    if process.poll() is None:
        process.terminate()
    while process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110 - another process ends
        await asyncio.sleep(PAUSE)


def _why_it_ended(home: Home, status: int, log: Path, before: int) -> str:
    """Return the error of a detached `writ up`: the full disk, its own last words, or the end of its log."""
    if place := disk.full(home.log):  # its own log is cut then
        return f"writ up ended with status {status}, since {place}"
    written = log.read_bytes()[before:].decode(errors="replace")
    own = re.split(r"^writ: ", written, flags=re.MULTILINE)[1:]
    return own[-1].strip() if own else f"writ up ended with status {status}{quoted(log, since=before)}"
