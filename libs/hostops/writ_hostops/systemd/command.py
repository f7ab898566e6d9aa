"""systemd by its command, for hosts without a system bus. Argument vectors only, with `--` before names.

The end of a job shows in systemctl's exit status alone, so after a stop this knows less than D-Bus does.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import Any, Callable, Dict, List, Sequence, Tuple

from writ_hostops.errors import HostError
from writ_hostops.stop import CancelToken
from writ_hostops.systemd.names import KINDS, can_be_named, is_own
from writ_hostops.systemd.unit import KIND_PROPERTIES, UNIT_PROPERTIES, JobEnd, Unit, unit_from

UNITS = ("list-units", "--all", "--plain")
UNIT_FILES = ("list-unit-files",)
ENVIRONMENT = {"LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
_POLL = 0.1
_SHOW_TIMEOUT = 10.0
# LSB exit statuses, as systemctl(1) uses them.
_STATUS_NO_PRIVILEGE = 4
_STATUS_NOT_INSTALLED = 5
_NUMBERS = ("MainPID", "ExecMainStatus", "NRestarts", "ActiveEnterTimestampMonotonic", "Job")
_FLAGS = ("CanStart", "CanStop", "NeedDaemonReload")


class SystemdByCommand:
    """Systemd (see unit.py) by running systemctl."""

    def __init__(self) -> None:
        command = shutil.which("systemctl")
        if command is None:
            raise HostError("unavailable", "this host has neither a system bus nor systemctl")
        self._command = command

    def unit(self, name: str) -> Unit:
        """See Systemd. `active_since` stays 0: systemctl shows it as local time only."""
        with CancelToken(_SHOW_TIMEOUT) as stop:
            status, out, _ = self._run(show(name), stop)
        return unit_of(name, status, out)

    def names(self) -> List[str]:
        with CancelToken(_SHOW_TIMEOUT) as stop:
            units, files = (self._run(listing(which), stop)[:2] for which in (UNITS, UNIT_FILES))
        return names_of(units, files)

    def job(self, verb: str, name: str, stop: CancelToken, progress: Callable[[str], None]) -> JobEnd:
        progress(f"systemctl {verb} {name}")
        try:
            status, _, _ = self._run(job(verb, name), stop)
        except HostError as error:
            if error.code not in ("cancelled", "timeout"):
                raise
            self._cancel(name)
            return JobEnd("", error.code)
        return end_of(verb, name, status)

    def shown(self, verb: str, name: str) -> str:
        return shown(verb, name)

    def _cancel(self, name: str) -> None:
        number = self.unit(name).job
        if number:
            with CancelToken(_SHOW_TIMEOUT) as stop:
                self._run(cancel(number), stop)

    def _run(self, arguments: Sequence[str], stop: CancelToken) -> Tuple[int, str, str]:
        process = subprocess.Popen(
            [self._command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT},
        )
        with process:
            while True:
                try:
                    stop.check()
                    out, error = process.communicate(timeout=_POLL)
                except subprocess.TimeoutExpired:
                    continue
                except HostError:
                    process.kill()
                    raise
                return process.returncode, out.decode("utf-8", "replace"), error.decode("utf-8", "replace")


def show(name: str) -> List[str]:
    """Return systemctl's arguments to show a unit; `unit_of` parses its output."""
    return ["show", f"--property={','.join((*UNIT_PROPERTIES, *KIND_PROPERTIES))}", "--", name]


def job(verb: str, name: str) -> List[str]:
    """Return systemctl's arguments for a job; `end_of` reads the exit status."""
    return [verb, "--no-ask-password", "--", name]


def shown(verb: str, name: str) -> str:
    """Return the command of a job, for people."""
    return shlex.join(["systemctl", *job(verb, name)])


def cancel(number: int) -> List[str]:
    """Return systemctl's arguments to cancel a job."""
    return ["cancel", "--", str(number)]


def listing(which: Sequence[str]) -> List[str]:
    """Return systemctl's arguments for UNITS or UNIT_FILES; `names_of` parses both outputs."""
    return [*which, "--full", "--no-legend", f"--type={','.join(KINDS)}"]


def unit_of(name: str, status: int, out: str) -> Unit:
    """Parse the shown unit. HostError `unavailable`, `unit_not_found`, `garbled`."""
    if status or not out:
        raise HostError("unavailable", "systemd does not reply on this host")
    values = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    if values.get("LoadState") == "not-found":
        raise HostError("unit_not_found", f"systemd knows no unit {name}")
    if not values.get("Id"):
        raise HostError("garbled", "the output of systemctl cannot be parsed")
    return unit_from(_typed(values))


def names_of(units: Tuple[int, str], files: Tuple[int, str]) -> List[str]:
    """Return the units that are loaded or could be, from status and output of both lists. HostError `unavailable`."""
    if units[0] or files[0]:
        raise HostError("unavailable", "systemd does not reply on this host")
    loaded = [unit for unit, state in _columns(units[1]) if state == "loaded"]
    loaded += [unit for unit, state in _columns(files[1]) if is_own(state)]
    return [name for name in loaded if can_be_named(name)]


def end_of(verb: str, name: str, status: int) -> JobEnd:
    """Return the end of a job. HostError `permission_denied`, `unit_not_found`."""
    if status == _STATUS_NO_PRIVILEGE:
        raise HostError("permission_denied", f"systemd refuses to {verb} {name} for this user")
    if status == _STATUS_NOT_INSTALLED:
        raise HostError("unit_not_found", f"systemd knows no unit {name}")
    return JobEnd("failed" if status else "done")


def _columns(out: str) -> List[Tuple[str, str]]:
    """Return the first two words of each line."""
    lines = (line.split() for line in out.splitlines())
    return [(words[0], words[1]) for words in lines if len(words) > 1]


def _typed(values: Dict[str, str]) -> Dict[str, Any]:
    typed: Dict[str, Any] = {key: value for key, value in values.items() if key != "ActiveEnterTimestamp"}
    typed["Names"] = values.get("Names", "").split()
    for key in _NUMBERS:
        typed[key] = int(values[key]) if values.get(key, "").isdigit() else 0
    for key in _FLAGS:
        typed[key] = values.get(key) == "yes"
    return typed
