"""The time for which stops held up an operation: the union of all stops with the operation in their reach."""

from typing import Any

from writ_contracts.history.records import Record
from writ_contracts.journal import ControlEvent
from writ_contracts.subjects import control_event
from writ_contracts.wire import encode
from writ_runtime.journal.stop_history import frozen_seconds, stop_periods


def record(kind: str, number: int, at: float, **body: Any) -> Record:
    event = ControlEvent(
        id=f"{kind}-{number}", at=at, correlation_id="c", kind=kind, principal="alice", operation_id="a" * 26, body=body
    )
    return Record(sequence=number, subject=control_event(kind), data=encode(event), time=at, headers={})


def frozen(begun: list[Record], lifted: list[Record] = [], *, since: float = 100, now: float = 200) -> float:  # noqa: B006
    periods = stop_periods(begun, lifted)
    return frozen_seconds(periods, "web-1", "testing", ["alice"], "service_restart", since=since, now=now)


def test_a_stop_that_lasts_counts_up_to_now() -> None:
    assert frozen([record("stop_set", 1, 150, scope=["web-*"])]) == 50
    assert frozen([record("stop_set", 1, 50, scope=["*"])]) == 100


def test_a_lifted_or_ended_stop_counts_up_to_its_end() -> None:
    begun = [record("stop_set", 1, 120, scope=["*"])]
    assert frozen(begun, [record("stop_lift", 2, 130, stop_id="stop_set-1")]) == 10
    assert frozen([record("stop_set", 1, 120, scope=["*"], until=125.0)]) == 5
    assert frozen([record("stop_set", 1, 20, scope=["*"], until=30.0)]) == 0


def test_stops_that_overlap_count_once() -> None:
    both = [record("stop_set", 1, 120, scope=["*"], until=150.0), record("stop_set", 2, 140, scope=["*"], until=160.0)]
    assert frozen(both) == 40
    assert frozen([*both, both[0]]) == 40  # an archived range is stored again


def test_a_stop_of_something_else_or_unreadable_counts_nothing() -> None:
    assert frozen([record("stop_set", 1, 120, scope=["db-*"])]) == 0
    assert frozen([record("stop_set", 1, 120, scope=["*"], operations=["service_stop"])]) == 0
    assert frozen([record("stop_set", 1, 120, scope=7)]) == 0
    assert (
        frozen_seconds(
            stop_periods([record("stop_set", 1, 0, scope=["*"])], []),
            "writ",
            "gateway",
            [],
            "stop_lift",
            since=0,
            now=9,
        )
        == 0
    )
