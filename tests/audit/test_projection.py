"""The change of the index by one record, for each kind of event and for bytes that are no event."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.audit.history import SIGNED

from writ_audit.projection import STATE_AFTER, project
from writ_contracts import journal
from writ_contracts.life import TABLE
from writ_contracts.subjects import operation_event
from writ_contracts.wire import encode

ID = "a" * 26
STAMP: dict[str, Any] = {"id": "e", "at": 5.0, "correlation_id": "c"}


def test_the_state_after_an_event_does_not_depend_on_the_one_before() -> None:
    for (_, event), after in TABLE.items():
        assert STATE_AFTER[event] is after


def test_every_event_of_an_operation_has_a_state() -> None:
    assert set(STATE_AFTER) == {kind.__struct_config__.tag for kind in get_args(journal.OperationEvent)}


@pytest.mark.parametrize(
    ("event", "state", "outcome"),
    [
        (journal.Unknown(**STAMP, operation_id=ID, code="lost", message=""), "unknown", "unknown"),
        (journal.Resolved(**STAMP, operation_id=ID, outcome="failed", how="probe", code="lost"), "ended", "failed"),
        (journal.Finished(**STAMP, operation_id=ID, outcome="expired", code="lost"), "ended", "expired"),
    ],
)
def test_an_end_gives_outcome_and_code(event: journal.OperationEvent, state: str, outcome: str) -> None:
    kind = str(event.__struct_config__.tag)
    change = project(7, operation_event("alice", ID, kind), encode(event), 0.0)
    assert change.step is not None
    assert (change.step.state, change.step.outcome, change.step.code, change.step.sequence) == (
        state,
        outcome,
        "lost",
        7,
    )
    assert (change.event.operation_id, change.event.principal, change.event.at) == (ID, "alice", 5.0)


def test_lock_event_is_indexed_under_its_operation_without_a_state() -> None:
    taken = journal.LockTaken(**STAMP, target="web-1", operation_id=ID, principal="alice")
    change = project(3, "writ.journal.limit.target.web-1", encode(taken), 0.0)
    assert (change.event.kind, change.event.operation_id, change.step) == ("lock_taken", ID, None)


def test_an_operation_event_on_a_foreign_subject_opens_nothing() -> None:
    event = journal.Finished(**STAMP, operation_id=ID, outcome="succeeded", decision=SIGNED)
    assert project(3, "writ.journal.security.flood", encode(event), 0.0).step is None


@given(st.binary(max_size=300))
def test_any_bytes_give_an_event_row(data: bytes) -> None:
    change = project(1, operation_event("alice", ID, "finished"), data, 9.0)
    assert change.event.sequence == 1
    assert change.event.operation_id == ID
