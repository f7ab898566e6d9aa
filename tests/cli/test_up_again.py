"""`writ up` on an installation whose supervisor starts, stops or ends, or whose state cannot be read."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from writ_cli.installation.processes import up
from writ_cli.main import cli
from writ_contracts.errors import Unreachable
from writ_installation.files.home import Home
from writ_installation.files.lock import held
from writ_installation.processes.report import InstallationReport, ProcessReport, read_report, write_report
from writ_installation.status import control
from writ_installation.supervisor.detached_start import StartReports, until_started
from writ_testing.installations.installation import prepare
from writ_testing.peers.nats_server import free_port


def write_state(home: Home, state: str) -> None:
    process = ProcessReport(name="policy", state="starting", pid=None, restarts=0)
    url = f"nats://127.0.0.1:{free_port()}"  # nothing listens
    report = InstallationReport(pid=os.getpid(), state=state, url=url, started_at=0.0, processes=[process])
    write_report(home.report_file, report)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Return the folder of an installation whose lock is held."""
    home = prepare(tmp_path)
    home.make_folders()
    with held(home.lock):
        yield home


def writ(home: Home, *words: str) -> Result:
    return CliRunner(env={"WRIT_HOME": str(home.root), "COLUMNS": "250"}).invoke(cli, words, prog_name="writ")


@pytest.mark.parametrize("state", ["starting", "stopping"])
def test_up_shows_the_state_that_status_shows_during_a_start_or_stop(home: Home, state: str) -> None:
    write_state(home, state)
    status, again = writ(home, "status"), writ(home, "up")
    assert f"{home.root}: {state}, " in status.stdout
    assert again.stdout.startswith(f"Writ is {state} on {home.root}, NATS at nats://127.0.0.1:")
    assert (again.stderr, again.exit_code, status.exit_code) == ("", 1, 1)


def test_up_with_a_lost_key_says_that_writ_is_up(home: Home) -> None:
    write_state(home, "ready")
    lost = home.seed_file("status")
    lost.unlink()
    done = writ(home, "up")
    assert done.exit_code == 1
    assert done.stdout.startswith(f"Writ is already up on {home.root}, but degraded, NATS at nats://127.0.0.1:")
    assert f"journal: {lost}: can't be read: No such file" in done.stderr


def test_up_starts_an_installation_that_ended_just_now(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    write_state(home, "stopping")
    started = list[object]()

    async def ended(_home: Home, _environ: object, within: float) -> control.InstallationStatus:
        assert within >= 5  # on a busy machine a slow reply degrades nothing
        raise Unreachable("Writ is not up")

    async def start(*words: object) -> int:
        started.append(words)
        return 0

    monkeypatch.setattr(control, "status", ended)
    monkeypatch.setattr(up, "_up_detached", start)
    done = writ(home, "up", "--detach")
    assert (done.exit_code, done.output, len(started)) == (0, "", 1)


@pytest.mark.parametrize("then", ["ready", "stopping"])
async def test_detached_up_waits_for_the_start_of_another_process(home: Home, then: str) -> None:
    write_state(home, "starting")
    waiting = asyncio.create_task(until_started(home, print))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.2)
    write_state(home, then)
    await asyncio.wait_for(waiting, 10)


def test_long_start_is_reported_less_and_less_often(home: Home) -> None:
    write_state(home, "starting")
    lines = list[str]()
    for after in (0.0, 60.0):
        reports = StartReports(lines.append, after)
        reports.waiting(read_report(home.report_file))
    assert lines == ["not ready after 0 s: still waiting for policy; Ctrl-C ends the wait"]


async def test_detached_up_does_not_wait_for_ever(home: Home) -> None:
    write_state(home, "starting")
    with pytest.raises(Unreachable, match=f"process {os.getpid()}, which starts Writ on .* is not ready after 0 s"):
        await until_started(home, print, within=0.0)
