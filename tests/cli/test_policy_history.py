"""`writ policy history` on a terminal."""

import pytest

from writ_cli.policy.versions import _show_history
from writ_cli.terminal.output import Screen
from writ_contracts.policy.versions import PolicyHistoryReply, PolicyVersionView

REASON = "the web team restarts nginx on its own hosts"


def test_reason_of_a_version_is_shown_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    versions = [
        PolicyVersionView(number=2, digest="b" * 64, author="alice", origin="published", at=2.0, reason=REASON),
        PolicyVersionView(number=1, digest="a" * 64, author="", origin="file", at=1.0),
    ]
    screen = Screen("table")
    screen.out.width, screen.out.soft_wrap = 80, False
    _show_history(screen, PolicyHistoryReply(versions=versions, more=False))
    shown = capsys.readouterr().out.splitlines()
    assert f"2: reason: {REASON}" in shown
    assert [line for line in shown if len(line) > 80] == []


def test_long_reason_of_a_version_stands_behind_bars(capsys: pytest.CaptureFixture[str]) -> None:
    one = PolicyVersionView(number=2, digest="b" * 64, author="a", origin="published", at=2.0, reason=f"{REASON}, " * 3)
    screen = Screen("table")
    screen.out.width, screen.out.soft_wrap = 80, False
    _show_history(screen, PolicyHistoryReply(versions=[one], more=False))
    shown = capsys.readouterr().out.splitlines()
    at = shown.index("2: reason:")
    assert all(line.startswith("    | ") for line in shown[at + 1 :])
    assert len(shown) > at + 1
