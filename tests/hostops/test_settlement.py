"""Settle an operation after its connection broke at the very moment in which it begins or ends."""

import json
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


def test_a_mark_that_is_being_written_is_of_one_that_runs(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = state / f"{named(1)}.1.begun"
    mark.touch()

    def written_now(seconds: float) -> None:
        mark.write_text(json.dumps({"operation": "test_count", "process": processes.identity()}))

    monkeypatch.setattr(time, "sleep", written_now)
    assert settle(state)["seen"] == "running"


def test_a_mark_that_a_crash_has_torn_is_of_one_that_is_lost(state: Path) -> None:
    (state / f"{named(1)}.1.begun").write_text('{"oper')
    assert settle(state)["seen"] == "lost"
