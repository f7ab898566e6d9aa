"""What is overdue, and what is not, at the edges of every deadline."""

from typing import Any

import pytest
from msgspec import Raw

from writ_contracts import journal
from writ_contracts.life import Life, State
from writ_contracts.requests import Verdict
from writ_contracts.signing import Signed
from writ_executor.steps.overdue import Due, Patience, due

PATIENCE = Patience(takeover=2.0, lease=15.0)
SIGNED = Signed(payload=Raw(b"{}"), key="U" + "A" * 55, signature="")
COMMON: dict[str, Any] = {"id": "e", "at": 100.0, "correlation_id": "c", "operation_id": "a" * 26}


def requested(**changed: Any) -> journal.Requested:
    values: dict[str, Any] = {
        **COMMON,
        "principal": "alice",
        "operation": "test_count",
        "target": "web-1",
        "pool": "local-web-1",
        "risk": "change",
        "idempotent": False,
        "key": "",
        "parameters": {},
        "effective": {},
        "hidden": [],
        "parameters_digest": "",
        "fingerprint": "",
        "verdict": Verdict(decision="allow", rules=[], reason="", code="allowed"),
        "decision": SIGNED,
        "timeout": 10,
        "start_by": 200.0,
    }
    return journal.Requested(**{**values, **changed})


def life(state: State, **changed: Any) -> Life:
    started = journal.Started(**COMMON, attempt=1, instance="i", deadline=150.0)
    dispatched = journal.Dispatched(
        **COMMON,
        principal="alice",
        operation="test_count",
        target="web-1",
        pool="local-web-1",
        attempt=1,
        parameters={},
        start_by=160.0,
        timeout=10,
    )
    end = journal.Unknown(**COMMON, code="lost", message="") if state is State.UNKNOWN else None
    return Life(state=state, requested=requested(**changed), dispatched=dispatched, started=started, end=end)


@pytest.mark.parametrize(
    ("state", "now", "silence", "expected"),
    [
        (State.REQUESTED, 101.9, 0, Due.NOTHING),
        (State.REQUESTED, 102.1, 0, Due.ADVANCE),
        (State.REQUESTED, 200.1, 0, Due.EXPIRE),
        (State.AWAITING_APPROVAL, 199.0, 0, Due.NOTHING),
        (State.AWAITING_APPROVAL, 201.0, 0, Due.EXPIRE),
        (State.APPROVED, 150.0, 0, Due.ADVANCE),
        (State.APPROVED, 201.0, 0, Due.EXPIRE),
        (State.DISPATCHED, 160.0, 0, Due.NOTHING),
        (State.DISPATCHED, 160.1, 0, Due.EXPIRE),
        (State.STARTED, 140.0, 15.0, Due.NOTHING),
        (State.STARTED, 140.0, 15.1, Due.PROBE),
        (State.STARTED, 165.0, 0, Due.NOTHING),
        (State.STARTED, 165.1, 0, Due.NOTHING),  # an agent says that it still has it
        (State.STARTED, 165.1, 15.1, Due.LOSE),
        (State.STARTED, 225.1, 0, Due.LOSE),
        (State.STARTED, 114.9, 99.0, Due.NOTHING),  # whoever has it may not have been heard yet
        (State.CANCELLING, 140.0, 0, Due.CANCEL),
        (State.CANCELLING, 165.1, 15.1, Due.LOSE),
        (State.UNKNOWN, 200.0, 0, Due.PROBE),
        (State.UNKNOWN, 1001.0, 0, Due.NOTHING),
        (State.ENDED, 9999.0, 999.0, Due.NOTHING),
        (State.ABSENT, 9999.0, 999.0, Due.NOTHING),
    ],
)
def test_each_state_is_overdue_at_its_own_time(state: State, now: float, silence: float, expected: Due) -> None:
    assert due(life(state), now, silence, PATIENCE) is expected


@pytest.mark.parametrize("changed", [{"dry_run": True}, {"target": "writ"}, {"risk": "read"}])
def test_what_takes_no_lock_begins_again(changed: dict[str, Any]) -> None:
    assert due(life(State.REQUESTED, **changed), 103.0, 0, PATIENCE) is Due.BEGIN


def test_a_control_operation_is_carried_on_after_a_lease() -> None:
    assert due(life(State.STARTED, target="writ"), 114.0, 99, PATIENCE) is Due.NOTHING
    assert due(life(State.STARTED, target="writ"), 116.0, 99, PATIENCE) is Due.CONTROL
