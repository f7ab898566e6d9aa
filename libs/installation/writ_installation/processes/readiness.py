"""Readiness of our processes: the run file names the health port, `/readyz` there has the checks by name."""

import asyncio
from pathlib import Path

import msgspec
from msgspec import Struct

from writ_runtime.files.run_file import RunFile

PROBE_SECONDS = 3.0
REPLY_SECONDS = 0.4
"""Of the whole time, those that the checks leave for the reply."""
LEAST_CHECK_SECONDS = 0.2
NO_ANSWER = "no answer"


class Readiness(Struct, frozen=True):
    """The reply of `/readyz`; `checks` has a reason or `ok` for each, `details` more about some of them.
    `failing_since`: since when each check that is not well fails, in Unix seconds.
    """

    status: str
    checks: dict[str, str] = {}
    details: dict[str, str] = {}
    failing_since: dict[str, float] = {}

    @property
    def ready(self) -> bool:
        """Return whether all checks are well."""
        return self.status == "ready"

    @property
    def answered(self) -> bool:
        """Return whether there was a reply."""
        return self.status != NO_ANSWER

    @property
    def failing(self) -> dict[str, str]:
        """Return the failing checks, with their reasons."""
        return {name: reason for name, reason in self.checks.items() if reason != "ok"}


def read_run_file(path: Path, pid: int | None) -> RunFile | None:
    """Return the process's run file; None while it is missing, or where it is another process's."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=RunFile)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.pid == pid else None


async def probe(run_file: Path, pid: int | None, within: float | None = None) -> Readiness:
    """Query the process on this host; without a reply it is not ready. `within`: as in `fetch_readiness`."""
    found = read_run_file(run_file, pid)
    if found is None:
        return Readiness("starting")
    return await fetch_readiness("127.0.0.1", found.health_port, within)


async def fetch_readiness(host: str, port: int, within: float | None = None) -> Readiness:
    """Return the reply of `/readyz` at this address. `within`: seconds for checks and reply, if less than usual."""
    path = "/readyz" if within is None else f"/readyz?within={check_seconds(within):g}"
    try:
        async with asyncio.timeout(PROBE_SECONDS if within is None else within):
            return await _probe_once(host, port, path)
    except (OSError, TimeoutError, msgspec.DecodeError):
        return Readiness(NO_ANSWER)


def check_seconds(within: float) -> float:
    """Return the seconds of `within` for a process's checks."""
    return max(within - REPLY_SECONDS, LEAST_CHECK_SECONDS)


async def _probe_once(host: str, port: int, path: str) -> Readiness:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(-1)  # the server closes
        return msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=Readiness)
    finally:
        writer.close()
