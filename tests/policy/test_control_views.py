"""Stops and emergencies in `writ status`: an ended emergency is not in force."""

import pytest

from writ_contracts.policy.stops import Reach
from writ_policy.state.control_views import in_words
from writ_rules.engine.control import ControlState, Emergency, Stop

NOW = 1000.0


@pytest.mark.parametrize(
    ("emergency", "phrase"),
    [
        ({"until": NOW + 1}, "is in force, by alice: fire"),
        ({"until": NOW + 1, "confirm_by": NOW + 1}, "is in force and not confirmed, by alice: fire"),
        ({"until": NOW - 1}, "is over and waits for its review, by alice: fire"),
        ({"until": NOW + 1, "confirm_by": NOW - 1}, "is over and waits for its review, by alice: fire"),
        ({"until": NOW + 1, "ended_by": "bob"}, "is over and waits for its review, by alice: fire"),
    ],
)
def test_an_emergency_is_reported_with_its_state(emergency: dict[str, object], phrase: str) -> None:
    one = Emergency(id="e1", scope=(), targets=(), reason="fire", by="alice", person="alice", **emergency)  # type: ignore[arg-type]
    assert in_words(ControlState(emergencies=(one,)), NOW) == f"emergency e1 {phrase}"


@pytest.mark.parametrize(
    ("reach", "phrase"),
    [
        (Reach(targets=("*",)), "is in force, by alice: fire"),
        (Reach(targets=("web-*", "db-1")), "is in force for targets web-*, db-1, by alice: fire"),
        (
            Reach(targets=("*",), principals=frozenset({"copilot"})),
            "is in force for principals copilot, by alice: fire",
        ),
        (
            Reach(targets=tuple(f"host-{number:03}" for number in range(100))),
            "is in force for targets host-000, host-001, host-002 and 97 more, by alice: fire",
        ),
    ],
)
def test_a_stop_is_reported_with_its_reach(reach: Reach, phrase: str) -> None:
    one = Stop(id="s1", reach=reach, reason="fire", until=None, by="alice")
    assert in_words(ControlState(stops=(one,)), NOW) == f"stop s1 {phrase}"


def test_a_line_that_is_cut_says_so() -> None:
    one = Stop(id="s1", reach=Reach(targets=("*",)), reason="fire " * 100, until=None, by="alice")
    line = in_words(ControlState(stops=(one,)), NOW)
    assert len(line) == 160
    assert line.endswith("...")
