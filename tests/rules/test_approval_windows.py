"""Approval windows in the control state: opened by policy's decision, closed for good; and demands for them."""

from typing import Any

import pytest
from msgspec import structs
from tests.rules.asking import policy

from writ_contracts.decisions import Decision, PolicyVersion
from writ_contracts.journal import ControlEvent
from writ_contracts.operations import Risk
from writ_contracts.signing import Signed
from writ_rules.engine.control import ControlState, apply
from writ_rules.engine.policy_file.approval_windows import WindowTerms
from writ_rules.engine.rules.obligations import ADMIN_DEMAND, ApproverStep, Demand
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

KEY = Key(generate_seed())
NOW = 1_000.0
PARAMETERS: dict[str, Any] = {
    "operations": ["test_noop"],
    "targets": ["web-1"],
    "uses": 2,
    "seconds": 60,
    "reason": "x",
}


def decision(at: float = NOW, acts_for: str | None = None) -> Signed:
    version = PolicyVersion(
        name="p", version="v2", digest="0" * 64, inventory_digest="1" * 64, principals_digest="2" * 64
    )
    return sign(
        KEY,
        Decision(
            operation_id="a" * 26,
            principal="alice",
            operation="window_request",
            target="writ",
            effect="allow",
            code="approved",
            rules=[],
            reason="",
            parameters_digest="3" * 64,
            policy=version,
            control_sequence=0,
            at=at,
            authenticated="signature",
            approvals=["bob"],
            acts_for=acts_for,
        ),
    )


def event(kind: str, body: dict[str, Any], *, signed: Signed | None = None, event_id: str = "w") -> ControlEvent:
    return ControlEvent(
        id=event_id,
        at=NOW + 5_000,
        correlation_id="c",
        kind=kind,
        principal="alice",
        operation_id=event_id,
        body=body,
        decision=signed,
        parameters_key="ab" * 32,
    )


def opened() -> ControlState:
    return apply(ControlState(), 1, event("window_request", PARAMETERS, signed=decision()))


def test_a_windows_time_runs_from_policys_decision_and_from_no_executors_clock() -> None:
    [window] = opened().windows
    assert (window.since, window.until, window.approvers, window.sequence) == (NOW, NOW + 60, ("bob",), 1)
    assert window.covers("alice", "test_noop", "web-1", NOW)
    for other in (
        ("bob", "test_noop", "web-1", NOW),
        ("alice", "test_fail", "web-1", NOW),
        ("alice", "test_noop", "web-2", NOW),
        ("alice", "test_noop", "web-1", NOW + 60),
    ):
        assert not window.covers(*other)


@pytest.mark.parametrize("body", [{}, {**PARAMETERS, "uses": 0}, {**PARAMETERS, "targets": []}])
def test_a_request_that_cannot_be_read_opens_no_window(body: dict[str, Any]) -> None:
    assert apply(ControlState(), 1, event("window_request", body, signed=decision())).windows == ()
    assert apply(ControlState(), 1, event("window_request", PARAMETERS)).windows == ()


def test_a_window_has_the_id_of_the_operation_that_was_decided_on_and_approved() -> None:
    """Approvals and uses are found by this id, and an executor writes the event."""
    request = event("window_request", PARAMETERS, signed=decision())
    assert apply(ControlState(), 1, structs.replace(request, id="another")).windows == ()
    assert [one.id for one in apply(ControlState(), 1, request).windows] == [request.operation_id]


def test_window_is_closed_for_good_by_its_end_a_stop_or_a_restore() -> None:
    ended = apply(opened(), 2, event("window_end", {"window_id": "w"}, event_id="e"))
    assert ended.windows == ()
    elsewhere = apply(opened(), 2, event("stop_set", {"scope": ["db-*"], "reason": "x"}, event_id="s"))
    assert len(elsewhere.windows) == 1
    stopped = apply(elsewhere, 3, event("stop_set", {"scope": ["web-*"], "reason": "x"}, event_id="t"))
    lifted = apply(stopped, 4, event("stop_lift", {"stop_id": "t"}, event_id="l"))
    assert (stopped.windows, lifted.windows) == ((), ())
    restored = {"backup": "b", "ends_access": True}
    assert apply(opened(), 2, event("journal_restored", restored, event_id="r")).windows == ()


def test_window_stays_open_after_a_restore_on_record_by_an_earlier_release() -> None:
    """Decisions by it are on record, too, and audit makes them a second time."""
    assert apply(opened(), 2, event("journal_restored", {"backup": "b"}, event_id="r")).windows == opened().windows


@pytest.mark.parametrize(("stopped", "left"), [("alice", 0), ("carol", 0), ("bob", 1)])
def test_a_stop_of_a_human_closes_the_windows_of_their_agents(stopped: str, left: int) -> None:
    of_an_agent = apply(ControlState(), 1, event("window_request", PARAMETERS, signed=decision(acts_for="carol")))
    stop = event("stop_set", {"scope": ["*"], "principals": [stopped], "reason": "x"}, event_id="s")
    assert len(apply(of_an_agent, 2, stop).windows) == left


@pytest.mark.parametrize(
    ("action", "name", "left"), [("remove", "alice", 0), ("remove", "bob", 1), ("disable", "alice", 1)]
)
def test_the_windows_of_a_removed_principal_are_not_those_of_the_next_one_of_its_name(
    action: str, name: str, left: int
) -> None:
    change = event("principal_manage", {"action": action, "principal_id": name}, event_id="p")
    assert len(apply(opened(), 2, change).windows) == left


def test_a_demand_accepts_windows_unless_the_risk_is_admin_or_its_rule_says_otherwise() -> None:
    steps = (ApproverStep(("approver",), 1),)
    accepts = {
        says: [Demand("r", steps, 60, windows=says).accepts_windows(risk) for risk in (Risk.CHANGE, Risk.ADMIN)]
        for says in (None, True, False)
    }
    assert accepts == {None: [True, False], True: [True, True], False: [False, False]}
    assert not ADMIN_DEMAND.accepts_windows(Risk.ADMIN)


def test_terms_of_windows_are_a_duration_and_a_count() -> None:
    assert policy().window_terms == WindowTerms(8 * 3600, 50)
    assert policy(approval_windows={"longest": "30d", "most_uses": 5}).window_terms == WindowTerms(7 * 86_400, 5)
