"""What the supervisor says of itself in `$WRIT_HOME/run/house.json`: for `writ status`, `writ down` and clients."""

from pathlib import Path

import msgspec
from msgspec import Struct

from writ_documents.atomic_files import write_atomically


class ProcessReport(Struct, frozen=True, kw_only=True):
    """One process: `pid` is None while it is not running."""

    name: str
    state: str
    pid: int | None
    restarts: int
    problem: str = ""


class HouseReport(Struct, frozen=True, kw_only=True):
    """A house: `state` is starting, ready or stopping. `url` is where NATS is, for clients on this machine. `problem`:
    why what was changed in the files last is not in force.
    """

    pid: int
    state: str
    url: str
    started_at: float
    external: bool = False
    problem: str = ""
    processes: list[ProcessReport] = []


def write_report(path: Path, report: HouseReport) -> None:
    """Replaces what was said before."""
    write_atomically(path, msgspec.json.encode(report))


def read_report(path: Path) -> HouseReport | None:
    """The last report; None where there is none. Whether its writer still lives is told by the lock."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=HouseReport)
    except (OSError, msgspec.DecodeError):
        return None
