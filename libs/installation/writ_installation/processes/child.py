"""One process under supervision: started, awaited, restarted when it dies, and stopped.

It is in a session of its own, so that a Ctrl-C reaches only the supervisor, and it dies when the supervisor does.
"""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import IO

from writ_bus import tasks
from writ_contracts.errors import ConfigError, Unreachable
from writ_installation.backends import Argv
from writ_installation.files.home import Home
from writ_installation.processes.readiness import Readiness, probe
from writ_installation.processes.report import STOP_SECONDS, ProcessReport
from writ_installation.processes.services import ServiceProcess, passed_on
from writ_runtime import bytecode

SLOW_SECONDS = 30.0
"""A start that takes longer is reported, and awaited further."""
START_SECONDS = 300.0
"""A start that takes longer is given up."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
STEADY_SECONDS = 30.0
"""After this time a death counts as the first one, and the backoff starts again."""
LARGEST_LOG = 16 << 20
POLL_SECONDS = 0.05
LOG_FOLLOWS = "; the end of"

ShowLine = Callable[[str], None]


def tie(slack: int = 0) -> list[str]:
    """Return a command prefix for a command to die with this process; `slack`: nanoseconds by which its timers may
    be late.
    """
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("parent_death.py")), str(os.getpid()), str(slack)]


async def start_process(argv: Argv, environ: Mapping[str, str], output: IO[bytes]) -> asyncio.subprocess.Process:
    """Start a command in a session of its own, which dies with this process."""
    return await asyncio.create_subprocess_exec(
        *(*tie(), *argv),
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


class Child:
    """A process kept running from `start` until `stop`."""

    def __init__(
        self,
        service: ServiceProcess,
        home: Home,
        environ: Mapping[str, str],
        show: ShowLine,
        *,
        start_seconds: float = START_SECONDS,
        slow_seconds: float = SLOW_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self.service = service
        self.name = service.name
        self.state = "starting"
        self.restarts = 0
        self.restarted_for = ""
        self.restarted_at: float | None = None
        self.log = home.log / f"{service.name}.log"
        self.run_file = home.run / f"{service.name}.json"
        self._environ = environ
        self._show = show
        self._start_seconds = start_seconds
        self._slow_seconds = slow_seconds
        self._stop_seconds = stop_seconds
        self._logged_before = 0
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def report(self) -> ProcessReport:
        """Return its part of the supervisor's report."""
        return ProcessReport(
            name=self.name,
            state=self.state,
            pid=self.pid,
            restarts=self.restarts,
            restarted_for=self.restarted_for,
            restarted_at=self.restarted_at,
            health_port=int(self.service.env.get("WRIT_HEALTH_PORT", "0")) or None,
            stop_seconds=self._stop_seconds,
        )

    async def start(self) -> None:
        """Start it; return when it is ready. Raises Unreachable with the end of its log if it ended, or is not ready
        after `start_seconds` (then it is awaited further, until `stop`), and ConfigError where it ended for a mistake
        in its files or variables.
        """
        await self._spawn()
        try:
            await self._ready(self._start_seconds)
        except Unreachable:
            if self.pid is not None:
                self._watch()
            raise
        self._watch()

    def _watch(self) -> None:
        self._watcher = tasks.keep(f"keep {self.name}", self._keep_running)

    async def stop(self) -> None:
        """Send SIGTERM; after `stop_seconds` SIGKILL."""
        self.state = "stopping"
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        if self._process is not None:
            await self._end(self._process)
        self.state = "stopped"
        self.run_file.unlink(missing_ok=True)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._stop_seconds)
        except TimeoutError:
            self._show(f"{self.name} did not end within {self._stop_seconds:g} s: killed")
            process.kill()
            await process.wait()

    async def _spawn(self) -> None:
        self.run_file.unlink(missing_ok=True)
        for folder in (self.log.parent, self.run_file.parent):  # somebody may have deleted it
            folder.mkdir(mode=0o700, exist_ok=True)
        rotate_log(self.log)
        with self.log.open("ab") as output:
            self._logged_before = output.tell()
            environ = {**passed_on(self._environ), **self.service.env, **bytecode.environ()}
            self._process = await start_process(self.service.argv, environ, output)

    async def _ready(self, within: float = inf) -> None:
        began, reported_after = time.monotonic(), self._slow_seconds
        while not (readiness := await probe(self.run_file, self.pid)).ready:
            if self.pid is None:
                raise self._ended_at_start()
            if (waited := time.monotonic() - began) > within:
                raise Unreachable(f"{self._not_ready(within, readiness)}{self._last_words()}")
            if waited > reported_after:
                self._show(f"{self._not_ready(reported_after, readiness)}: still waiting (log: {self.log})")
                reported_after *= 2
            await asyncio.sleep(POLL_SECONDS)
        self.state = "ready"

    def _ended_at_start(self) -> ConfigError | Unreachable:
        wrong = self._process is not None and self._process.returncode == 2
        if wrong and (mistake := _mistake(self.log, self._logged_before)):
            return ConfigError(f"{self.name} cannot start: {mistake}")
        return Unreachable(f"{self.name} {self._how_it_ended()} at its start{self._last_words()}")

    def _not_ready(self, seconds: float, readiness: Readiness) -> str:
        why = ", ".join(f"{name}: {reason}" for name, reason in readiness.failing.items()) or readiness.status
        return f"{self.name} is not ready after {seconds:g} s ({why})"

    async def _keep_running(self) -> None:
        pause = FIRST_PAUSE
        while self._process is not None:
            await self._late()
            began = time.monotonic()
            await self._process.wait()
            pause = FIRST_PAUSE if time.monotonic() - began > STEADY_SECONDS else pause
            self.state = "restarting"
            self.restarts += 1
            self.restarted_for, self.restarted_at = self._how_it_ended(), time.time()
            self._show(f"{self.name} {self._how_it_ended()}: starting it again in {pause:g} s (log: {self.log})")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            await self._again()

    async def _again(self) -> None:
        try:
            await self._spawn()
        except OSError as error:
            self._show(str(error))

    async def _late(self) -> None:
        """Wait for it while it runs, if it is not ready yet. A slow one is reported."""
        while self.pid is not None and self.state != "ready":
            try:
                await self._ready()
                self._show(f"{self.name} is ready{' again' if self.restarts else ''}")
            except (ConfigError, Unreachable) as error:
                self._show(str(error))

    def _how_it_ended(self) -> str:
        return ending(self._process.returncode if self._process is not None else None)

    def _last_words(self) -> str:
        return quoted(self.log, since=self._logged_before)


def ending(returncode: int | None) -> str:
    """Return how a process ended, as the predicate of a sentence about it."""
    if returncode == 0:
        return "was stopped, as by `writ restart`"
    if returncode is None or returncode > 0:
        return f"ended with status {returncode}"
    return f"was ended by {signal.Signals(-returncode).name}"


def rotate_log(log: Path) -> None:
    """Start a new log when it has grown too large, and keep the old one."""
    if log.exists() and log.stat().st_size > LARGEST_LOG:
        log.replace(log.with_suffix(".log.1"))


def _mistake(log: Path, since: int) -> str:
    """Return the mistake in a service's last line, which it writes before it ends with status 2; "" for another."""
    lines = log.read_bytes()[since:][-8192:].decode(errors="replace").splitlines()
    return found[1] if lines and (found := re.match(r"writ [\w.-]+: (.*)", lines[-1])) else ""


def quoted(log: Path, lines: int = 5, *, since: int = 0) -> str:
    """Return the last lines of a log, for an error message; none of its first `since` bytes, which are of an earlier
    run, unless a new log was begun since.
    """
    try:
        written = log.read_bytes()
    except OSError:
        return ""
    text = written[since if since <= len(written) else 0 :][-8192:].decode(errors="replace")
    last = [line.strip()[:500] for line in text.splitlines() if line.strip()][-lines:]
    return "".join([f"{LOG_FOLLOWS} {log}:", *(f"\n  {line}" for line in last)]) if last else ""
