"""Settle an operation after its connection broke at the very moment in which it begins or ends."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.conftest import named

from writ_hostops import processes
from writ_hostops.markers import Markers
from writ_hostops.supervised import settlement

RESULT = {"outcome": "succeeded", "code": ""}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    return path


def settle(state: Path) -> dict[str, Any]:
    return settlement.settle({"id": named(1), "attempt": 1}, str(state))


def test_operation_that_ends_during_its_settlement_has_its_own_result(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    markers = Markers(str(state))
    markers.begin(named(1), 1, "test_count", {})

    def ends_now(who: object) -> bool:
        markers.end(named(1), 1, RESULT)
        return False

    monkeypatch.setattr(processes, "alive", ends_now)
    assert settle(state) == {"seen": "ended", "result": RESULT, "certain": True}


def test_mark_that_is_being_written_counts_as_running(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = state / f"{named(1)}.1.begun"
    mark.touch()

    def written_now(seconds: float) -> None:
        mark.write_text(json.dumps({"operation": "test_count", "process": processes.identity()}))

    monkeypatch.setattr(time, "sleep", written_now)
    assert settle(state)["seen"] == "running"


def test_mark_torn_by_a_crash_counts_as_lost(state: Path) -> None:
    (state / f"{named(1)}.1.begun").write_text('{"oper')
    assert settle(state)["seen"] == "lost"


def test_process_that_has_ended_the_operation_and_serves_another_is_left_alone(state: Path) -> None:
    """`end` without the mark would kill a process that carries out another operation by now."""
    markers = Markers(str(state))
    with subprocess.Popen(["sleep", "60"]) as reused:
        who = {**processes.identity(), "pid": reused.pid, "start": processes._start(reused.pid)}
        markers.begin(named(1), 1, "file_write", {})
        markers.end(named(1), 1, RESULT)
        assert processes.end(who, named(1), 0.0, lambda: markers.has_ended(named(1), 1))
        assert reused.poll() is None
        assert processes.end(who, named(1), 0.0)
        assert reused.wait() in (-signal.SIGTERM, -signal.SIGKILL)
