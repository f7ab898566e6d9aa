"""The output of `writ status` for a running installation."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import structs
from rich.console import Console

from writ_bus.port import Usage
from writ_cli.installation.processes.status import _show_status, patience_at
from writ_cli.main import cli
from writ_cli.terminal.output import Screen
from writ_installation.status import control
from writ_installation.status.control import InstallationStatus, ProcessStatus
from writ_installation.status.degradation import degradations
from writ_runtime.clocks import boot_time


def shown(capsys: pytest.CaptureFixture[str], one: ProcessStatus, width: int | None = None) -> str:
    status = InstallationStatus(
        home="here", state="ready", pid=1, url="nats://x", started_at=0, ready=one.ready, processes=[one], journal=None
    )
    screen = Screen("table")
    if width is not None:
        screen.out = Console(highlight=False, markup=False, emoji=False, width=width)
    _show_status(screen, status)
    return capsys.readouterr().out


def test_status_shows_warnings_of_a_ready_process(capsys: pytest.CaptureFixture[str]) -> None:
    one = ProcessStatus(name="policy", ready=True, state="ready", pid=2, restarts=0, failing={"policy": "a bad file"})
    assert "policy: a bad file\n" in shown(capsys, one)


def test_status_without_agents_names_the_command_that_counts_them(capsys: pytest.CaptureFixture[str]) -> None:
    line = "agents: `writ target list` counts them for each target\n"
    assert line in shown(capsys, ProcessStatus(name="policy@1", ready=True, state="ready", pid=None, restarts=0))
    assert line not in shown(capsys, ProcessStatus(name="agent-ssh", ready=True, state="ready", pid=2, restarts=0))


def test_clock_of_a_process_fits_into_its_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    details = {"clock": "12 ms ahead of the NATS server's"}
    one = ProcessStatus(
        name="agent-local-vm", ready=True, state="ready", pid=32582, health_port=45963, restarts=0, details=details
    )
    [row] = [line for line in shown(capsys, one).splitlines() if "agent-local-vm" in line]
    assert row.rstrip().endswith("12 ms ahead of NATS")
    assert len(row.rstrip()) <= 80


def test_name_of_a_process_stays_whole_on_40_columns(capsys: pytest.CaptureFixture[str]) -> None:
    one = ProcessStatus(name="agent-local-vm", ready=True, state="ready", pid=32582, health_port=45963, restarts=0)
    rows = shown(capsys, one, 40).splitlines()
    assert any(row.split() == ["agent-local-vm", "ready", "0"] for row in rows), rows


def test_status_shows_the_failing_check_beside_its_process(capsys: pytest.CaptureFixture[str]) -> None:
    one = ProcessStatus(name="policy", ready=False, state="not ready", pid=2, restarts=0, failing={"bus": "away"})
    assert shown(capsys, one).count("bus: away") == 1


@pytest.mark.parametrize(
    ("silent", "line"),
    [
        (("policy", "audit"), "policy, audit: no answer; if it stays so, `writ restart policy audit` replaces them\n"),
        (("nats",), "nats: journal: NATS does not answer; if it stays so, `writ restart nats` replaces it\n"),
        (("nats", "policy"), "policy: no answer\n"),
    ],
)
def test_status_names_the_command_that_replaces_processes_without_an_answer(
    capsys: pytest.CaptureFixture[str], silent: tuple[str, ...], line: str
) -> None:
    """Without NATS the others may not reply either: it comes first."""
    processes = [
        ProcessStatus(
            name=name,
            ready=name not in silent,
            state="no answer" if name in silent else "ready",
            pid=2,
            restarts=0,
            failing={"journal": "NATS does not answer"} if (name, name in silent) == ("nats", True) else {},
        )
        for name in ("nats", "policy", "audit", "executor")
    ]
    observed = InstallationStatus(
        home="here", state="ready", pid=1, url="u", ready=False, processes=processes, journal=None
    )
    _show_status(Screen("table"), observed)
    assert f"\n{line}" in capsys.readouterr().out


def test_status_names_the_oldest_operation_that_waits_once_and_the_command_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The replicas do not count the time from the same instant."""
    late = "2 operations not running, the oldest for {}: abc"
    processes = [
        ProcessStatus(name=name, ready=True, state="ready", pid=2, restarts=0, details={"operations": late.format(age)})
        for name, age in (("executor", "7 min 0 s"), ("executor-2", "7 min 1 s"))
    ]
    observed = InstallationStatus(
        home="here", state="ready", pid=1, url="u", ready=True, processes=processes, journal=None
    )
    _show_status(Screen("table"), observed)
    printed = capsys.readouterr().out
    assert f"{late.format('7 min 0 s')}; see `writ trace abc`\n" in printed
    assert printed.count("writ trace abc") == 1


def test_status_names_the_command_that_tries_an_unreachable_host_again(capsys: pytest.CaptureFixture[str]) -> None:
    away = {"targets": "unreachable at the last attempt: far (unreachable)"}
    one = ProcessStatus(name="agent-ssh", ready=True, state="ready", pid=2, restarts=0, failing=away)
    assert "far (unreachable); `writ target test TARGET` tries again\n" in shown(capsys, one)


def test_a_degraded_installation_says_so_first_and_each_reason_once(capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"inventory": "inventory.yaml:3:5: unknown key 'rol'"}
    processes = [
        ProcessStatus(name=name, ready=True, state="ready", pid=2, restarts=0, failing=bad)
        for name in ("policy", "executor")
    ]
    problem = "inventory.yaml:3:5: unknown key 'rol'"
    status = InstallationStatus(
        home="here", state="ready", url="nats://x", ready=True, processes=processes, journal=None, problem=problem
    )
    _show_status(Screen("table"), status)
    out = capsys.readouterr().out
    assert out.startswith("here: degraded, NATS at")
    assert out.count("unknown key 'rol'") == 1
    assert "policy, executor: inventory: inventory.yaml:3:5" in out
    assert "journal: NATS does not answer" in out


def test_each_mistake_of_a_file_is_shown_once_and_on_its_own_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    mistakes = ["/w/inventory.yaml:3:3: unknown key 'rol'; did you mean 'role'?", "/w/inventory.yaml:9:1: is empty"]
    bad = {"inventory": f"the last good version is in force: {'; '.join(mistakes)}"}
    processes = [
        ProcessStatus(name=name, ready=True, state="ready", pid=2, restarts=0, failing=bad)
        for name in ("policy", "executor")
    ]
    problem = f"no change was applied, since a file has an error: {'; '.join(mistakes)}"
    usage = Usage(messages=1, bytes=1, max_bytes=10, last_sequence=1)
    status = InstallationStatus(
        home="here", state="ready", url="nats://x", ready=True, processes=processes, journal=usage, problem=problem
    )
    _show_status(Screen("table"), status)
    shown = capsys.readouterr().out.splitlines()
    at = shown.index("policy, executor: inventory: the last good version is in force:")
    assert shown[at + 1 : at + 3] == [f"  {one}" for one in mistakes]
    assert "no change was applied" not in "\n".join(shown)


def test_a_host_out_of_reach_is_shown_and_degrades_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    failing = {"targets": "1 of 2 cannot be reached: web1 (unreachable)"}
    one = ProcessStatus(name="agent-ssh", ready=True, state="ready", pid=2, restarts=0, failing=failing)
    usage = Usage(messages=1, bytes=1, max_bytes=10, last_sequence=1)
    status = InstallationStatus(home="here", state="ready", url="nats://x", ready=True, processes=[one], journal=usage)
    assert degradations(status) == {}
    _show_status(Screen("table"), status)
    out = capsys.readouterr().out
    assert out.startswith("here: ready, NATS at")
    assert "agent-ssh: targets: 1 of 2 cannot be reached: web1 (unreachable)" in out


def test_operations_that_fail_on_their_hosts_are_shown_and_degrade_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    failing = {"success": "11 of the 11 operations that ended within 5 minutes did not succeed"}
    one = ProcessStatus(name="executor", ready=True, state="ready", pid=2, restarts=0, failing=failing)
    usage = Usage(messages=1, bytes=1, max_bytes=10, last_sequence=1)
    status = InstallationStatus(home="here", state="ready", url="nats://x", ready=True, processes=[one], journal=usage)
    assert degradations(status) == {}
    _show_status(Screen("table"), status)
    out = capsys.readouterr().out
    assert out.startswith("here: ready, NATS at")
    assert f"executor: success: {failing['success']}\n" in out


def test_restarted_process_shows_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    one = ProcessStatus(
        name="executor",
        ready=True,
        state="ready",
        pid=2,
        restarts=3,
        restarted_for="was ended by SIGKILL",
        restarted_at=time.time() - 5,
    )
    assert re.search(r"executor: restarted 3 ×, last [5-9]\S* s ago: it was ended by SIGKILL", shown(capsys, one))


def audits(*notes: str) -> list[ProcessStatus]:
    return [
        ProcessStatus(
            name=f"audit.{number}",
            ready=True,
            state="ready",
            pid=2,
            restarts=0,
            details={"nats_log": note} if note else {},
        )
        for number, note in enumerate(notes)
    ]


@pytest.mark.parametrize(("notes", "times"), [(("not set", "not set"), 1), (("", "not set"), 0), (("",), 0)])
def test_refusals_of_nats_that_nobody_records_are_reported_once(
    capsys: pytest.CaptureFixture[str], notes: tuple[str, ...], times: int
) -> None:
    usage = Usage(messages=1, bytes=1, max_bytes=10, last_sequence=1)
    status = InstallationStatus(
        home="here", state="ready", url="nats://x", ready=True, processes=audits(*notes), journal=usage
    )
    assert degradations(status) == {}
    _show_status(Screen("table"), status)
    assert capsys.readouterr().out.count("not set") == times


@pytest.mark.parametrize(
    ("age", "seconds"),
    [(0.2, 1.5), (0.7, 1.5), (0.8, 1.4), (1.4, 1.2), (4.0, 1.2), (60.0, 1.5)],
)
def test_status_waits_less_if_it_took_long_to_start(age: float, seconds: float) -> None:
    assert patience_at(age) == pytest.approx(seconds)


def test_age_of_a_process_counts_from_its_start() -> None:
    before = boot_time()
    code = "from writ_cli.terminal.process_age import process_age; print(process_age())"
    age = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert 0.0 <= float(age) <= boot_time() - before + 0.02  # proc(5) counts in hundredths


def test_status_for_programs_is_degraded_as_its_headline_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A service that replies with a failing check is ready, and one without a reply is named."""
    bad = ProcessStatus(name="policy", ready=True, state="ready", pid=2, restarts=0, failing={"policy": "a bad file"})
    bad = structs.replace(bad, failing_since={"policy": 1_796_000_000.0})
    away = ProcessStatus(name="audit", ready=False, state="no answer", pid=3, restarts=0)
    usage = Usage(messages=1, bytes=1, max_bytes=10, last_sequence=1)
    observed = InstallationStatus(
        home="here", state="ready", url="nats://x", ready=True, processes=[bad, away], journal=usage
    )

    async def status(*_: object) -> InstallationStatus:
        return observed

    monkeypatch.setattr(control, "status", status)
    done = CliRunner().invoke(cli, ["status", "--home", str(tmp_path), "-o", "json"])
    shown = json.loads(done.stdout)
    assert (done.exit_code, shown["state"], shown["ready"]) == (1, "degraded", False)
    assert shown["degraded"] == ["policy: a bad file", "audit: no answer"]
    since = {"since": 1_796_000_000.0, "since_iso": "2026-11-30T00:53:20.000Z"}
    assert shown["degradations"] == [
        {"process": "policy", "check": "policy", "reason": "a bad file", **since},
        {"process": "audit", "check": "", "reason": "no answer", "since": None},
    ]
