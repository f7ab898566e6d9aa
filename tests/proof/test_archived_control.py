"""The check of an archive finds control events that policy did not allow, and starts outside them."""

from typing import Any

import pytest
from msgspec import structs
from tests.contracts.messages import sample
from tests.proof.archives import AGENT, ALICE, DIGEST_KEY, POLICY, id_of

from writ_contracts import journal, subjects
from writ_contracts.agents import Claim
from writ_contracts.decisions import Decision, Grant
from writ_contracts.history.records import Record
from writ_contracts.requests import RequestStatement
from writ_contracts.wire import encode
from writ_proof.archive.signatures import Signatures
from writ_trust.digests import keyed_digest
from writ_trust.statements import digest, read, sign

WINDOW = {"operations": ["service_restart"], "targets": ["web-1"], "uses": 2, "seconds": 100, "reason": "deploy"}
EMERGENCY = {"scope": ["*"], "reason": "down", "until": 500.0, "declared_by": "alice", "confirm_by": 200.0}
AT = 100.0


def decided(number: int, principal: str, **facts: Any) -> tuple[Any, Any]:
    statement = sign(ALICE, sample(RequestStatement))
    known: dict[str, Any] = {
        "operation_id": id_of(number),
        "principal": principal,
        "authenticated": "signature",
        "effect": "allow",
        "dry_run": False,
        "at": AT,
        "statement_digest": digest(statement),
        "presence": None,
        "window": "",
        "emergency": "",
        "approvals": [],
    }
    return sign(POLICY, structs.replace(sample(Decision), **{**known, **facts})), statement


def control(kind: str, number: int, body: dict[str, Any], by: str = "alice", **facts: Any) -> journal.ControlEvent:
    """Return a control event allowed by policy, with these parameters."""
    facts = {"operation": kind, "parameters_digest": keyed_digest(DIGEST_KEY, body), **facts}
    decision, statement = decided(number, by, **facts)
    return journal.ControlEvent(
        id=id_of(number),
        at=AT,
        correlation_id="c",
        kind=kind,
        principal=by,
        operation_id=id_of(number),
        body=body,
        decision=decision,
        statement=statement,
        parameters_key=DIGEST_KEY,
    )


def granted(number: int, **facts: Any) -> Any:
    """A start of alice's restart on web-1."""
    about = {"operation": "service_restart", "target": "web-1", "control_sequence": 1, "at": AT + 10}
    decision, _ = decided(number, "alice", **{**about, **facts})
    claim = sign(AGENT, structs.replace(sample(Claim), operation_id=id_of(number)))
    links = {"operation_id": id_of(number), "claim_digest": digest(claim), "decision_digest": digest(decision)}
    grant = sign(POLICY, structs.replace(sample(Grant), **links, approvals=[]))
    of = {"operation_id": id_of(number), "id": f"g{number}", "correlation_id": "c"}
    return structs.replace(sample(journal.Granted), **of, claim=claim, grant=grant, decision=decision)


def used(number: int, use: int, **changed: Any) -> Any:
    event = journal.WindowUsed(
        id=f"u{number}",
        at=AT,
        correlation_id="c",
        window=id_of(1),
        use=use,
        most=2,
        target="web-1",
        operation_id=id_of(number),
        principal="alice",
    )
    return structs.replace(event, **changed)


def finished(number: int) -> Any:
    of = {"operation_id": id_of(number), "id": f"f{number}", "correlation_id": "c"}
    return structs.replace(sample(journal.Finished), **of, receipt=None, probe=None)


def problems(*found: Any) -> list[str]:
    signatures = Signatures([POLICY.public])
    for at, event in enumerate(found, 1):
        subject = subjects.control_event("x")
        if not isinstance(event, journal.ControlEvent | journal.WindowUsed):
            subject = subjects.operation_event("alice", event.operation_id, str(event.__struct_config__.tag))
        signatures.take(Record(sequence=at, subject=subject, data=encode(event), time=AT, headers={}))
    return [one.what for one in signatures.problems]


BY = {"window": id_of(1)}
REQUESTED = control("window_request", 1, WINDOW)


def test_a_window_with_its_uses_holds() -> None:
    first, second = granted(2, **BY), granted(3, **BY)
    assert problems(REQUESTED, used(2, 1), first, finished(2), second, used(3, 2), finished(3)) == []


@pytest.mark.parametrize(
    ("events", "what"),
    [
        ([used(2, 2)], "it is use 2 of its window, after use 0"),
        ([used(2, 1), used(3, 2), used(4, 3)], "it is use 3 of 2"),
        ([used(2, 1, principal="bob")], "by bob, of a window of alice"),
        ([used(2, 1), used(2, 2, window=id_of(9))], "is a use of two windows"),
        ([granted(2, **BY), finished(2)], "which has no use of it"),
        ([granted(2, **BY, target="web-2")], "which does not cover it"),
        ([granted(2, **BY, operation="service_stop")], "which does not cover it"),
        ([granted(2, **BY, at=AT + 100)], "which had ended"),
        ([control("window_end", 5, {"window_id": id_of(1)}), granted(2, **BY, control_sequence=2)], "which had ended"),
    ],
)
def test_a_start_that_its_window_does_not_allow_shows(events: list[Any], what: str) -> None:
    assert what in problems(REQUESTED, *events)[0]


@pytest.mark.parametrize(
    ("event", "what"),
    [
        (control("window_request", 1, WINDOW, effect="require_approval"), "policy did not allow it"),
        (control("window_request", 1, WINDOW, operation="window_end"), "policy did not allow it"),
        (control("window_request", 1, WINDOW, dry_run=True), "policy did not allow it"),
        (structs.replace(REQUESTED, body={**WINDOW, "uses": 50}), "policy allowed other parameters"),
        (structs.replace(control("stop_lift", 1, {"stop_id": "a"}), body={"stop_id": "b"}), "other parameters"),
    ],
)
def test_a_control_event_that_policy_did_not_allow_so_shows(event: Any, what: str) -> None:
    assert any(what in one for one in problems(event))


def session(parameters: dict[str, Any] | None = None, **signed: Any) -> journal.ControlEvent:
    """Return a session of alice; `parameters` and `signed` are different fields of her statement."""
    expected = {"key": AGENT.public, "seconds": 3600}
    event = control("session_open", 8, {**expected, "device": "", "idle": 60, "timeout": 30})
    about = {"principal": "alice", "operation": "session_open", "target": "writ", "idempotency_key": "key-8"}
    opens = {"parameters_digest": keyed_digest(DIGEST_KEY, parameters or expected), "dry_run": False}
    statement = sign(ALICE, structs.replace(sample(RequestStatement), **{**about, **opens, **signed}))
    assert event.decision is not None
    decision = structs.replace(read(event.decision, Decision), statement_digest=digest(statement))
    return structs.replace(
        event, decision=sign(POLICY, decision), statement=statement, salt=DIGEST_KEY, given=parameters or expected
    )


def test_a_session_that_its_principal_signed_for_holds() -> None:
    assert problems(session()) == []


@pytest.mark.parametrize(
    ("event", "what"),
    [
        (session({"key": POLICY.public, "seconds": 3600}), "for another session"),
        (structs.replace(session(), salt="", given={}), "for another session"),
        (session(principal="bob"), "for another request"),
        (session(operation="service_restart"), "for another request"),
        (session(idempotency_key="other"), "for another operation"),
    ],
)
def test_a_forged_session_that_its_principal_did_not_sign_for_shows(event: Any, what: str) -> None:
    assert any(what in one for one in problems(event))


def confirmed(by: str, verdict: str = "confirm") -> Any:
    return control("emergency_confirm", 7, {"emergency_id": id_of(6), "verdict": verdict}, by)


DECLARED = control("emergency_declare", 6, EMERGENCY, "alice-admin")
IN = {"emergency": id_of(6)}


def test_an_emergency_that_another_person_confirmed_holds() -> None:
    assert problems(DECLARED, confirmed("bob"), granted(2, **IN, control_sequence=2), finished(2)) == []


@pytest.mark.parametrize("by", ["alice", "alice-admin"])
def test_a_confirmation_by_who_declared_the_emergency_shows(by: str) -> None:
    assert problems(DECLARED, confirmed(by)) == [f"{by} confirmed an emergency of their own"]


def test_a_start_by_an_emergency_that_was_over_shows() -> None:
    over = f"it started by emergency {id_of(6)}, which had ended"
    assert problems(DECLARED, granted(2, **IN, at=500.0)) == [over]
    assert problems(DECLARED, confirmed("bob", "end"), granted(2, **IN, control_sequence=2)) == [over]
