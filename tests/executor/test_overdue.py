"""Deadlines at their edges: an operation is overdue by a duration, whatever the clocks show."""

from typing import Any

import pytest
from hypothesis import given, strategies
from msgspec import Raw, structs

from writ_contracts import journal
from writ_contracts.life import AcceptedLife, Phase, State
from writ_contracts.requests import Verdict
from writ_contracts.signing import Signed
from writ_executor.steps.overdue import LONGEST_SHORT, DueStep, WaitingAge, WaitingTimes, due, period_of
from writ_testing.each_case import each_case

PATIENCE = WaitingTimes(takeover=2.0, lease=15.0)
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


def life(state: State, **changed: Any) -> AcceptedLife:
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
    waiting = journal.AwaitingApproval(**COMMON, approvers=[], quorum=1, requested_at=100.0, until=200.0)
    approved = journal.Approved(**COMMON, approvals=[])
    phases: dict[State, Phase] = {
        State.AWAITING_APPROVAL: waiting,
        State.APPROVED: approved,
        State.DISPATCHED: dispatched,
        State.STARTED: started,
        State.CANCELLING: started,
    }
    accepted = requested(**changed)
    return AcceptedLife(state=state, requested=accepted, phase=phases.get(state, accepted), end=end)


def test_the_time_to_decide_counts_by_the_servers_clock_also_after_a_restart() -> None:
    """A new replica grants a short period again, but not this one: people saw the instant."""
    waiting = life(State.AWAITING_APPROVAL)
    assert due(waiting, WaitingAge(observed=1.0, before=98.0), 0, PATIENCE) is DueStep.NOTHING
    assert due(waiting, WaitingAge(observed=1.0, before=100.0), 0, PATIENCE) is DueStep.EXPIRE


def test_sweep_does_not_advance_an_operation_that_needs_approval() -> None:
    needs = Verdict(decision="require_approval", rules=[], reason="", code="approval_required")
    assert due(life(State.REQUESTED, verdict=needs), WaitingAge(observed=2.1), 0, PATIENCE) is DueStep.BEGIN


@each_case(
    ("state", "observed", "silence", "expected"),
    [
        (State.REQUESTED, 1.9, 0, DueStep.NOTHING),
        (State.REQUESTED, 2.1, 0, DueStep.ADVANCE),
        (State.REQUESTED, 100.1, 0, DueStep.EXPIRE),
        (State.AWAITING_APPROVAL, 99.0, 0, DueStep.NOTHING),
        (State.AWAITING_APPROVAL, 101.0, 0, DueStep.EXPIRE),
        (State.APPROVED, 50.0, 0, DueStep.ADVANCE),
        (State.APPROVED, 101.0, 0, DueStep.EXPIRE),
        (State.DISPATCHED, 60.0, 0, DueStep.NOTHING),
        (State.DISPATCHED, 60.1, 0, DueStep.EXPIRE),
        (State.STARTED, 40.0, 15.0, DueStep.NOTHING),
        (State.STARTED, 40.0, 15.1, DueStep.PROBE),
        (State.STARTED, 65.0, 0, DueStep.NOTHING),
        (State.STARTED, 65.1, 15.1, DueStep.MARK_UNKNOWN),
        (State.STARTED, 65.1, 0, DueStep.NOTHING),  # an agent says that it still has it
        (State.STARTED, 86_400.0, 0, DueStep.NOTHING),  # and is believed for as long as it says so
        (State.STARTED, 14.9, 99.0, DueStep.NOTHING),  # its agent's first heartbeat may be on the way
        (State.CANCELLING, 40.0, 0, DueStep.CANCEL),
        (State.CANCELLING, 65.1, 15.1, DueStep.MARK_UNKNOWN),
        (State.CANCELLING, 125.0, 0, DueStep.CANCEL),
        (State.CANCELLING, 125.1, 0, DueStep.MARK_UNKNOWN),  # it was to stop, and only says that it runs
        (State.UNKNOWN, 100.0, 0, DueStep.PROBE),
        (State.UNKNOWN, 901.0, 0, DueStep.NOTHING),
        (State.ENDED, 9999.0, 999.0, DueStep.NOTHING),
        (State.ABSENT, 9999.0, 999.0, DueStep.NOTHING),
    ],
)
def test_each_state_is_overdue_at_its_own_time(
    state: State, observed: float, silence: float, expected: DueStep
) -> None:
    assert due(life(state), WaitingAge(observed=observed), silence, PATIENCE) is expected


@each_case(("observed", "expected"), [(245.0, DueStep.CANCEL), (245.1, DueStep.MARK_UNKNOWN)])
def test_cancelled_read_may_have_waited_its_turn(observed: float, expected: DueStep) -> None:
    assert due(life(State.CANCELLING, risk="read"), WaitingAge(observed=observed), 0, PATIENCE) is expected


@each_case("wrong", [-86_400.0, -3_600.0, 600.0, 86_400.0])
@each_case("state", [State.REQUESTED, State.DISPATCHED, State.STARTED])
def test_clock_of_the_writer_moves_no_deadline(state: State, wrong: float) -> None:
    right, off = life(state), life(state)
    until = "deadline" if state is State.STARTED else "start_by"
    phase: Any = off.phase
    moved = structs.replace(phase, at=phase.at + wrong, **{until: getattr(phase, until) + wrong})
    off = structs.replace(off, phase=moved)
    assert period_of(off) == period_of(right)
    for observed in (0.0, 50.0, 70.0, 110.0):
        assert due(off, WaitingAge(observed=observed), 0, PATIENCE) is due(
            right, WaitingAge(observed=observed), 0, PATIENCE
        )


@pytest.mark.parametrize(
    ("window", "expected"), [(LONGEST_SHORT, DueStep.ADVANCE), (LONGEST_SHORT + 1, DueStep.EXPIRE)]
)
def test_a_new_replica_grants_a_short_period_again_and_what_is_left_of_a_long_one(
    window: float, expected: DueStep
) -> None:
    waiting = life(State.REQUESTED, start_by=100.0 + window)
    assert due(waiting, WaitingAge(observed=3.0, before=window), 0, PATIENCE) is expected


@given(
    state=strategies.sampled_from([*State]),
    observed=strategies.floats(0, 1e6),
    before=strategies.floats(0, 1e6),
    silence=strategies.floats(0, 15.0),
)
def test_an_operation_that_an_agent_names_and_nobody_cancels_is_not_lost(
    state: State, observed: float, before: float, silence: float
) -> None:
    what = due(life(state), WaitingAge(observed=observed, before=before), silence, PATIENCE)
    assert what is not DueStep.MARK_UNKNOWN or state is State.CANCELLING


@pytest.mark.parametrize("changed", [{"dry_run": True}, {"target": "writ"}, {"risk": "read"}])
def test_operation_without_a_lock_begins_again(changed: dict[str, Any]) -> None:
    assert due(life(State.REQUESTED, **changed), WaitingAge(observed=3.0), 0, PATIENCE) is DueStep.BEGIN


def test_a_control_operation_is_carried_on_after_a_lease() -> None:
    assert due(life(State.STARTED, target="writ"), WaitingAge(observed=14.0), 99, PATIENCE) is DueStep.NOTHING
    assert due(life(State.STARTED, target="writ"), WaitingAge(observed=16.0), 99, PATIENCE) is DueStep.CONTROL
