"""The progress of `writ run` on many targets, on a terminal."""

import io

import pytest
from rich.console import Console

from writ_cli.operations.running.many_targets import RunResults
from writ_cli.operations.running.silence_lines import MOST
from writ_cli.operations.running.target_choice import TargetChoice
from writ_cli.terminal.output import Screen
from writ_client.operations.target_runs import TargetResult
from writ_contracts.agents import Progress


def progress(message: str, number: str = "a" * 26) -> Progress:
    return Progress(operation_id=number, principal="alice", message=message)


def run_results(count: int, screen: Screen | None = None) -> RunResults:
    choice = TargetChoice(
        targets=("web-*",),
        roles=(),
        tags=(),
        everything=False,
        yes=False,
        serial=None,
        max_failures=None,
        only=(),
        retry=None,
    )
    return RunResults(screen or Screen("table"), choice, count)


def test_result_does_not_stand_behind_the_progress_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen, terminal = Screen("table"), io.StringIO()
    screen.out, screen.err = (Console(file=terminal, width=80, force_terminal=True, no_color=False) for _ in range(2))
    shown = run_results(2, screen)
    with shown:
        shown.add(TargetResult(target="web-1", outcome="succeeded"))
        shown.add(TargetResult(target="web-2", outcome="succeeded"))
    erased = "\x1b[2K"
    assert "0 of 2 targets" in terminal.getvalue()
    assert [name for name in ("web-1", "web-2") if f"{erased}{name}  " not in terminal.getvalue()] == []


def test_progress_counts_pending_targets_apart_from_those_without_success() -> None:
    shown = run_results(4)
    for target, result in (("a", "pending"), ("b", "succeeded"), ("c", "pending"), ("d", "failed")):
        shown.add(TargetResult(target=target, outcome=result))
    assert shown.progress().plain == "4 of 4 targets, 1 without success, 2 pending"


def test_progress_leaves_out_who_can_approve_since_each_wait_was_reported_with_it() -> None:
    shown = run_results(2)
    shown.event(progress("waits for an approval: 'ask' demands one of role approver; could approve: bob"))
    assert shown.progress().plain == "0 of 2 targets, 0 without success; one waits for an approval"
    shown.event(progress("waits for an approval: 'ask' demands one of role approver", "b" * 26))
    assert shown.progress().plain == "0 of 2 targets, 0 without success; 2 wait, one for an approval"


def test_progress_names_what_targets_wait_for_until_they_go_on() -> None:
    shown = run_results(2)
    shown.event(progress("half of it is done"))
    assert shown.progress().plain == "0 of 2 targets, 0 without success"
    shown.event(progress("waits for web-1: backup_create holds its lock"))
    waiting = "0 of 2 targets, 0 without success; one waits for web-1: backup_create holds its lock"
    assert shown.progress().plain == waiting
    shown.event(progress("waits for an agent of pool ssh: none is online", "b" * 26))
    both = "0 of 2 targets, 0 without success; 2 wait, one for an agent of pool ssh: none is online"
    assert shown.progress().plain == both
    shown.event(progress("half of it is done", "b" * 26))
    assert shown.progress().plain == waiting
    shown.add(TargetResult(target="web-1", outcome="succeeded", operation_id="a" * 26))
    assert shown.progress().plain == "1 of 2 targets, 0 without success"


async def test_names_of_silent_hosts_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run_results(1)
    for number in range(3 * MOST):
        shown.event(
            Progress(operation_id="a" * 26, principal="alice", message=f"{number}\x1b[2J", silent=f"h-{number}")
        )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == MOST
    assert "\x1b" not in "".join(lines)


async def test_pull_of_an_image_has_no_line_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run_results(1)
    for message in ("pulls nginx:1", "pulls nginx:1: Downloading", "waits for the lock of dpkg"):
        shown.event(progress(message))
    assert capsys.readouterr().err == "writ: waits for the lock of dpkg\n"
