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
