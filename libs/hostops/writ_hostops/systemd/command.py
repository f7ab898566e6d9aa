"""systemd by its own command, for hosts without a system bus. Argument vectors only, and a `--` before names.

It knows a job's end by systemctl's exit status alone, so after a stop of ours it can tell less than D-Bus can.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any, Callable, Dict, Sequence, Tuple

from writ_hostops.errors import HostError
from writ_hostops.stop import Stop
from writ_hostops.systemd.unit import KIND_PROPERTIES, UNIT_PROPERTIES, JobEnd, Unit, unit_from

_POLL = 0.1
_PROPERTIES = ",".join((*UNIT_PROPERTIES, *KIND_PROPERTIES))
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
        with Stop(_SHOW_TIMEOUT) as stop:
            status, out, _ = self._run(["show", f"--property={_PROPERTIES}", "--", name], stop)
        if status or not out:
            raise HostError("unavailable", "systemd does not answer on this host")
        values = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        if values.get("LoadState") == "not-found":
            raise HostError("unit_not_found", f"systemd knows no unit {name}")
        return unit_from(_typed(values))

    def job(self, verb: str, name: str, stop: Stop, progress: Callable[[str], None]) -> JobEnd:
        """See Systemd."""
        progress(f"systemctl {verb} {name}")
        try:
            status, _, _ = self._run([verb, "--no-ask-password", "--", name], stop)
        except HostError as error:
            if error.code not in ("cancelled", "timeout"):
                raise
            self._cancel(name)
            return JobEnd("", error.code)
        if status == _STATUS_NO_PRIVILEGE:
            raise HostError("permission_denied", f"systemd refuses to {verb} {name} for this user")
        if status == _STATUS_NOT_INSTALLED:
            raise HostError("unit_not_found", f"systemd knows no unit {name}")
        return JobEnd("failed" if status else "done")

    def _cancel(self, name: str) -> None:
        job = self.unit(name).job
        if job:
            with Stop(_SHOW_TIMEOUT) as stop:
                self._run(["cancel", "--", str(job)], stop)

    def _run(self, arguments: Sequence[str], stop: Stop) -> Tuple[int, str, str]:
        process = subprocess.Popen(
            [self._command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"},
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


def _typed(values: Dict[str, str]) -> Dict[str, Any]:
    typed: Dict[str, Any] = {key: value for key, value in values.items() if key != "ActiveEnterTimestamp"}
    for key in _NUMBERS:
        typed[key] = int(values[key]) if values.get(key, "").isdigit() else 0
    for key in _FLAGS:
        typed[key] = values.get(key) == "yes"
    return typed
