"""Control of a running installation from outside: status, restart and stop."""

import asyncio
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from msgspec import Struct, structs

from writ_bus.port import Usage
from writ_contracts.errors import Invalid, TimedOut, Unreachable
from writ_installation.files.home import Home
from writ_installation.files.lock import holder
from writ_installation.nats import disk
from writ_installation.processes.child import quoted
from writ_installation.processes.readiness import NO_ANSWER, probe, read_run_file
from writ_installation.processes.report import InstallationReport, ProcessReport, read_report
from writ_installation.server_access.server_tls import certificate_end, exposure, plaintext
from writ_installation.status.foreign_processes import HealthAddress, health_addresses, probe_readiness
from writ_installation.status.journal_usage import read_journal
from writ_installation.status.server_url import running_url

DOWN_WITHIN = 90.0
RESTART_WITHIN = 90.0
PAUSE = 0.05
NOT_PERMITTED = "the server does not permit"
"""In the last words of a service to which NATS refuses a subject (`writ_bus`)."""
STATUS_SECONDS = 1.5
"""Time for the journal's usage and for the replies of all processes, at once."""


class ProcessStatus(Struct, frozen=True, kw_only=True):
    """The present state of one process; `failing` has a reason for each failing check, `failing_since` the time of its
    first failure in Unix seconds.
    """

    name: str
    ready: bool
    state: str
    pid: int | None
    restarts: int
    restarted_for: str = ""
    """The reason of the last restart, and its time in Unix seconds."""
    restarted_at: float | None = None
    health_port: int | None = None
    health_host: str = "127.0.0.1"
    failing: dict[str, str] = {}
    failing_since: dict[str, float] = {}
    details: dict[str, str] = {}


class InstallationStatus(Struct, frozen=True, kw_only=True):
    """State of the whole installation. `journal` is None where NATS does not answer, for the reason in `no_journal`.

    `pid` and `started_at` are those of `writ up`. `problem`: the reason why the last change of the files is not in
    force; the state before that change is.
    """

    home: str
    state: str
    pid: int | None = None
    url: str
    started_at: float | None = None
    ready: bool
    processes: list[ProcessStatus]
    journal: Usage | None
    no_journal: str = ""
    problem: str = ""
    certificate_ends: float | None = None
    """The end of NATS's certificate, in Unix seconds; None without TLS, or where it cannot be read."""
    exposed: str = ""
    """The reason for which others may read what goes to NATS."""


def running(home: Home) -> InstallationReport:
    """Return the supervisor's report; raises Unreachable where none is running."""
    if home.split:
        raise Unreachable(f"the services of {home.root} are started by the system: systemctl status 'writ-*'")
    if home.in_containers:
        raise Unreachable(f"the services of {home.root} run in containers: docker compose run --rm writ status")
    report = read_report(home.report_file)
    if holder(home.lock) is None or report is None:
        exists = home.installation_file.exists()
        why = "`writ up` starts it" if exists else "there is no installation, and `writ up` creates one"
        raise Unreachable(f"Writ is not up on {home.root}: {why}")
    return report


async def status(home: Home, environ: Mapping[str, str], within: float | None = None) -> InstallationStatus:
    """Ask every process now, and wait `within` seconds at most. Raises Unreachable where no installation is running,
    ConfigError.
    """
    within = STATUS_SECONDS if within is None else within
    if others := await health_addresses(home, environ):
        return await _status_of(home, others, environ.get("NATS_URL") or running_url(home) or "", within)
    report = running(home)
    journal, processes = await asyncio.gather(
        read_journal(home, report.url, within),
        asyncio.gather(*(_status(home, one, within) for one in report.processes)),
    )
    if journal.usage is None and journal.asked:
        processes = [_without_answer(one, journal.problem) for one in processes]
    return InstallationStatus(
        home=str(home.root),
        state=report.state,
        pid=report.pid,
        url=report.url,
        started_at=report.started_at,
        ready=report.state == "ready" and journal.usage is not None and all(one.ready for one in processes),
        processes=processes,
        journal=journal.usage,
        no_journal=journal.problem,
        problem=report.problem,
        certificate_ends=certificate_end(home),
        exposed=plaintext(home, report.options.listen) if report.options and not report.external else "",
    )


def _without_answer(one: ProcessStatus, reason: str) -> ProcessStatus:
    """Return the status of the server that does not answer, although it runs. Others stay as they are."""
    if one.name != "nats" or not one.ready:
        return one
    return structs.replace(one, ready=False, state=NO_ANSWER, failing={"journal": reason})


async def _status_of(home: Home, others: Sequence[HealthAddress], url: str, within: float) -> InstallationStatus:
    """Return the status of processes started by others."""
    journal, replies = await asyncio.gather(
        read_journal(home, url, within), asyncio.gather(*(probe_readiness(one, within) for one in others))
    )
    processes = [
        ProcessStatus(
            name=endpoint.name,
            pid=None,
            restarts=0,
            ready=one.ready,
            state=one.status,
            health_port=endpoint.port,
            health_host=endpoint.host,
            failing=one.failing,
            failing_since=one.failing_since,
            details=one.details,
        )
        for endpoint, one in zip(others, replies, strict=True)
        if one is not None
    ]
    ready = journal.usage is not None and all(one.ready for one in processes)
    state = "ready" if ready else "not ready"
    return InstallationStatus(
        home=str(home.root),
        state=state,
        url=url,
        ready=ready,
        processes=processes,
        journal=journal.usage,
        no_journal=journal.problem,
        certificate_ends=certificate_end(home),
        exposed=exposure(home, home.site.listen) or plaintext(home, home.site.listen) if home.site else "",
    )


async def _status(home: Home, process: ProcessReport, within: float) -> ProcessStatus:
    if process.name == "nats":  # whether it serves is seen by the journal's being read
        # On a full disk the supervisor's report may be an old one: it is on the same disk.
        problem = process.problem or disk.full(home.store)
        return ProcessStatus(
            name=process.name,
            pid=process.pid,
            restarts=process.restarts,
            restarted_for=process.restarted_for,
            restarted_at=process.restarted_at,
            ready=process.pid is not None and not problem,
            state="not ready" if problem else process.state,
            failing={"disk": problem} if problem else {},
        )
    path = home.run / f"{process.name}.json"
    found, readiness = read_run_file(path, process.pid), await probe(path, process.pid, within=within)
    return ProcessStatus(
        name=process.name,
        pid=process.pid,
        restarts=process.restarts,
        restarted_for=process.restarted_for,
        restarted_at=process.restarted_at,
        ready=readiness.ready,
        state=readiness.status if process.state in ("ready", "starting") else process.state,
        health_port=found.health_port if found else process.health_port,
        failing=readiness.failing,
        failing_since=readiness.failing_since,
        details=readiness.details,
    )


async def down(home: Home, within: float | None = None) -> bool:
    """Stop the supervisor, and return when all processes have ended; return False if none runs. Raises Unreachable
    where there is no installation, or one whose services the system starts; TimedOut after `within` seconds, by default
    `DOWN_WITHIN` beyond the longest stop of a process.
    """
    pid = holder(home.lock)
    if pid is None:
        if home.split or not home.installation_file.exists():
            running(home)
        return False
    if within is None:
        processes = report.processes if (report := read_report(home.report_file)) else []
        within = DOWN_WITHIN + max((one.stop_seconds for one in processes), default=0.0)
    with suppress(ProcessLookupError):  # it ended just now
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + within
    while holder(home.lock) is not None:
        if time.monotonic() > deadline:
            raise TimedOut(f"process {pid} is still there after {within:g} s (log: {home.log / 'up.log'})")
        await asyncio.sleep(PAUSE)
    return True


def to_restart(home: Home, names: Sequence[str]) -> list[str]:
    """Return the processes of these names, or all but NATS in the order of an upgrade. Raises Invalid for an unknown
    one, Unreachable.
    """
    known = [one.name for one in running(home).processes]
    if unknown := [name for name in names if name not in known]:
        raise Invalid(f"no process {unknown[0]} is here: there are {', '.join(known)}")
    return list(names) or sorted((name for name in known if name != "nats"), key=_upgraded)


def _upgraded(name: str) -> int:
    """Return the place of this process in an upgrade: a release's executors read what later ones write."""
    kinds = ("executor", "policy", "audit")
    return next((place for place, kind in enumerate(kinds) if name.startswith(kind)), len(kinds))


async def restart(home: Home, name: str, within: float | None = None) -> int:
    """Stop one process in order, and return the next one's id once that is ready. One that hangs is killed. Raises
    TimedOut after `within` seconds, by default `RESTART_WITHIN` beyond its stop; Unreachable once NATS has refused a
    subject to it.
    """
    log, first = home.log / f"{name}.log", _process(home, name)
    before, since = first.pid, log.stat().st_size if log.exists() else 0
    if before is not None:
        with suppress(ProcessLookupError):  # it died just now, which is as good
            os.kill(before, signal.SIGTERM)
    within = RESTART_WITHIN + first.stop_seconds if within is None else within
    deadline, patience = time.monotonic() + within, time.monotonic() + first.stop_seconds
    while (now := _process(home, name)).state != "ready" or now.pid is None or now.pid == before:
        if before is not None and now.pid == before and time.monotonic() > patience:
            await _kill_hanging(home, name, before)
        failed_again = now.restarts > first.restarts + 1
        if failed_again and NOT_PERMITTED in (words := quoted(log, since=since)):
            raise Unreachable(f"{name} needs permissions that NATS gets from `writ down`, then `writ up`{words}")
        if time.monotonic() > deadline:
            of_present = 0 if now.pid == before else since
            raise TimedOut(f"{name} is not ready again after {within:g} s{quoted(log, since=of_present)}")
        await asyncio.sleep(PAUSE)
    return now.pid


async def _kill_hanging(home: Home, name: str, pid: int) -> None:
    """Kill a process that should have ended and does not reply; another one may still finish its work.

    One without a run file has none to finish: it starts, is at its end, or is NATS.
    """
    file = home.run / f"{name}.json"
    if read_run_file(file, pid) is None or not (await probe(file, pid)).answered:
        with suppress(ProcessLookupError):  # it ended just now
            os.kill(pid, signal.SIGKILL)


def _process(home: Home, name: str) -> ProcessReport:
    return next(one for one in running(home).processes if one.name == name)


def usage_share(usage: Usage) -> float:
    """Return the used share of the journal, 0 to 1."""
    return usage.bytes / usage.max_bytes if usage.max_bytes > 0 else 0.0
