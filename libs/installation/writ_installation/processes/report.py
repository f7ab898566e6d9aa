"""The supervisor's report of itself, `$WRIT_HOME/run/supervisor.json`: for `writ status`, `writ down` and clients."""

from pathlib import Path

import msgspec
from msgspec import Struct

from writ_documents.atomic_files import write_atomically

STOP_SECONDS = 15.0


class ProcessReport(Struct, frozen=True, kw_only=True):
    """One process: `pid` is None while it is not running, `health_port` where it takes a free port at each start.

    `stop_seconds`: it is killed if it has not ended so long after SIGTERM.
    """

    name: str
    state: str
    pid: int | None
    restarts: int
    problem: str = ""
    restarted_for: str = ""
    restarted_at: float | None = None
    health_port: int | None = None
    stop_seconds: float = STOP_SECONDS


class ReportedOptions(Struct, frozen=True, kw_only=True):
    """The options with which it was started, under the names of the parameters of `writ up`."""

    nats_port: int
    health_port: int
    listen: str
    tls: str | None
    policies: int
    executors: int
    audits: int
    agents: int
    gateway: bool
    without: list[str]


class InstallationReport(Struct, frozen=True, kw_only=True):
    """A running installation. `state` is starting, ready or stopping.

    `url`: the NATS address for clients on this machine. `problem`: the reason why the last change of the files is not
    in force.
    """

    pid: int
    state: str
    url: str
    started_at: float
    external: bool = False
    problem: str = ""
    processes: list[ProcessReport] = []
    keyring: str = ""
    """Digest of the `keyring.json` that is in force; empty without one."""
    agents: str = ""
    """Digest of the `agents.yaml` that is in force; empty without one, and from a release that did not report it."""
    policy_file: str = ""
    """The file that policy reads; empty from a release that did not report it."""
    options: ReportedOptions | None = None
    """None from a release that did not report them."""


def write_report(path: Path, report: InstallationReport) -> None:
    write_atomically(path, msgspec.json.encode(report))


def read_report(path: Path) -> InstallationReport | None:
    """Return the last report; None without one. The lock is held while its writer runs."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=InstallationReport)
    except (OSError, msgspec.DecodeError):
        return None
