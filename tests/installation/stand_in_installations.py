"""Installations of stand-ins, each `writ up` in a process of its own, for tests of the supervisor."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.installation import standin_up

from writ_installation.files.home import Home, host_token
from writ_installation.processes.child import tie
from writ_installation.processes.report import InstallationReport, read_report
from writ_testing.eventually import eventually

WITHIN = 60.0
AGENT = f"agent-local-{host_token()}"


class Up:
    """An installation in a process of its own."""

    def __init__(self, home: Home, process: asyncio.subprocess.Process, log: Path) -> None:
        self.home = home
        self.process = process
        self._log = log

    @property
    def printed(self) -> str:
        return self._log.read_text()

    @property
    def report(self) -> InstallationReport:
        """Return the status that it reports."""
        report = read_report(self.home.report_file)
        assert report is not None
        return report

    def pid(self, name: str) -> int | None:
        """Return the pid of one of its ready processes."""
        return next((one.pid for one in self.report.processes if one.name == name and one.state == "ready"), None)

    def pids(self) -> list[int]:
        """Return the pids of all processes."""
        return [one.pid for one in self.report.processes if one.pid is not None]

    async def until(self, holds: Callable[[], Any], within: float = WITHIN) -> None:
        async def check() -> bool | None:
            return bool(holds()) or None

        try:
            await eventually(check, within=within)
        except (AssertionError, TimeoutError):
            pytest.fail(f"not within {within:g} s; it said:\n{self.printed}")


async def start(home: Home, log: Path, environ: Mapping[str, str] | None = None, **options: Any) -> Up:
    """Begin to start an installation; the caller ends it."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(*tie(), sys.executable, standin_up.__file__, str(home.root), json.dumps(options)),
            stdout=output,
            stderr=output,
            env={**os.environ, **(environ or {})},
        )
    return Up(home, process, log)


@asynccontextmanager
async def up(tmp_path: Path, environ: Mapping[str, str] | None = None, **options: Any) -> AsyncIterator[Up]:
    """Run an installation that is ready within the block and ended after it."""
    one = await start(Home(tmp_path / "home"), tmp_path / "said", environ, **options)
    try:
        await one.until(lambda: "READY" in one.printed or one.process.returncode is not None)
        assert "READY" in one.printed, one.printed
        yield one
    finally:
        if one.process.returncode is None:
            one.process.terminate()
        await asyncio.wait_for(one.process.wait(), WITHIN)
