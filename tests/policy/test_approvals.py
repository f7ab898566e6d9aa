"""Verdicts of people at policy's endpoint: valid ones count, and each changed copy of a signed one is refused."""

from typing import Any

import pytest
from msgspec import Raw, json, structs
from tests.policy.approving import NEEDS, TWO, Pending, know, pending
from tests.policy.replica import Asking
from tests.rules.asking import NOON, at

from writ_contracts import subjects
from writ_contracts.journal import ApprovalGiven, Approved, Rejected
from writ_contracts.people.approvals import Approval
from writ_documents import yaml_file
from writ_runtime.journal.security_events import security_event
from writ_testing.eventually import eventually
from writ_trust.approvals import sign_approval


async def test_an_approval_is_recorded_as_it_was_signed(asking: Asking) -> None:
    one = await pending(asking)
    signed = sign_approval(asking.files.keys["bob"], one.approval(reason="fine"))
    answer = await one.send(signed)
    assert (answer.state, answer.remaining, answer.error) == ("approved", 0, None)
    event = (await one.events())[-1]
    assert isinstance(event, Approved)
    assert event.approvals == [signed]
    await one.dispatched()
    granted = await asking.granted_as_recorded(one.subject)
    assert granted.grant is not None
    assert granted.approvals == [signed]


async def test_the_same_verdict_sent_twice_is_answered_twice_and_recorded_once(asking: Asking) -> None:
    one = await pending(asking)
    signed = sign_approval(asking.files.keys["bob"], one.approval())
    assert [(await one.send(signed)).state for _ in range(2)] == ["approved", "approved"]
    assert (await one.kinds()).count("approved") == 1


async def test_quorum_takes_as_many_different_people_in_order(asking: Asking) -> None:
    know(asking, "carol", "dave", dave=["lead"])
    one = await pending(asking, TWO)
    assert await one.code("dave", step="restarts#2") == "not_approver"  # not before the step before it is done
    assert (await one.decide("bob")).remaining == 2
    assert await one.code("bob", nonce="cd" * 32) == "decided"
    assert (await one.decide("carol")).remaining == 1
    assert await one.kinds() == ["requested", "awaiting_approval", "approval_given", "approval_given"]
    assert (await one.decide("dave", step="restarts#2")).state == "approved"


async def test_one_person_with_two_principals_counts_once(asking: Asking) -> None:
    know(asking, "carol", "dave", dave=["lead"])
    people = decode_yaml(asking)
    for entry in people["principals"]:
        if entry["id"] in ("carol", "bob"):
            entry["person"] = "bob"
    asking.files.write("principals", people)
    one = await pending(asking, TWO)
    assert (await one.decide("bob")).remaining == 2
    assert await one.code("carol") == "decided"


def decode_yaml(asking: Asking) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml_file.read(asking.files.path("principals")).data
    return loaded


async def test_a_rejection_is_recorded_with_its_reason(asking: Asking) -> None:
    one = await pending(asking)
    assert (await one.decide(verdict="reject", reason="no", step="none")).state == "rejected"
    event = (await one.events())[-1]
    assert isinstance(event, Rejected)
    assert (event.approver, event.reason) == ("bob", "no")
    assert await one.code(nonce="cd" * 32) == "decided"


async def test_rejected_operation_is_counted_once_however_often_its_verdict_arrives(asking: Asking) -> None:
    """No executor writes this end, and each of them reads it: the panels by outcome showed none."""
    one = await pending(asking)
    signed = sign_approval(asking.files.keys["bob"], one.approval(verdict="reject"))
    assert [(await one.send(signed)).state for _ in range(2)] == ["rejected", "rejected"]
    counted = asking.measured.exposition()[0].decode().splitlines()
    assert 'writ_outcomes_total{outcome="rejected"} 1.0' in counted
    of = 'operation="service_restart",outcome="rejected",pool="a"'
    assert f"writ_operations_total{{{of}}} 1.0" in counted, [line for line in counted if "operations_total" in line]


OTHER = "0123456789abcdef" * 4
MUTATIONS: dict[str, dict[str, Any]] = {
    "operation_id": {"operation_id": "a" * 26},
    "requested": {"requested": OTHER},
    "decision_digest": {"decision_digest": OTHER},
    "step": {"step": "restarts#2"},
    "approver": {"approver": "alice"},
    "issued_at": {"issued_at": at(NOON) - 301},
    "issued_ahead": {"issued_at": at(NOON) + 61},
    "proof": {"proof": "touch"},
    "preview": {"preview": OTHER},
}


@pytest.mark.parametrize("changed", MUTATIONS.values(), ids=list(MUTATIONS))
async def test_a_signed_statement_about_something_else_is_refused(asking: Asking, changed: dict[str, Any]) -> None:
    one = await pending(asking)
    signed = sign_approval(asking.files.keys["bob"], structs.replace(one.approval(), **changed))
    answer = await one.send(signed)
    assert answer.error is not None
    assert await one.kinds() == ["requested", "awaiting_approval"]


@pytest.mark.parametrize("field", sorted(Approval.__struct_fields__))
async def test_each_field_changed_after_signing_is_refused(asking: Asking, field: str) -> None:
    one = await pending(asking)
    signed = sign_approval(asking.files.keys["bob"], one.approval(reason="fine", preview=None))
    plain = json.decode(bytes(signed.payload))
    plain[field] = {"issued_at": at(NOON) - 1, "verdict": "reject", "proof": "key"}.get(field, OTHER)
    plain["reason"] = plain["reason"] if field != "proof" else "another"
    forged = structs.replace(signed, payload=Raw(json.encode(plain, order="sorted")))
    answer = await one.send(forged)
    assert answer.error is not None
    assert answer.error.code == "bad_approval"
    assert await one.kinds() == ["requested", "awaiting_approval"]


async def test_another_persons_key_and_a_copied_statement_are_refused(asking: Asking) -> None:
    know(asking, "carol")
    one = await pending(asking)
    by_carol = sign_approval(asking.files.keys["carol"], one.approval("bob"))
    assert (await one.send(by_carol, "bob")).error is not None
    assert (await one.send(by_carol, "carol")).error is not None
    of_bob = sign_approval(asking.files.keys["bob"], one.approval("bob"))
    assert (await one.send(of_bob, "carol")).error is not None  # carol passes on what bob signed
    assert (await one.send(of_bob, "bob", key=asking.files.keys["carol"].public)).error is not None
    assert await one.kinds() == ["requested", "awaiting_approval"]


async def test_a_replay_on_a_second_operation_is_refused(asking: Asking) -> None:
    first, second = await pending(asking), await pending(asking)
    signed = sign_approval(asking.files.keys["bob"], first.approval())
    moved = structs.replace(second.approval(), requested=first.approval().requested)
    assert (await second.send(sign_approval(asking.files.keys["bob"], moved))).error is not None
    assert (await first.send(signed)).state == "approved"
    assert await second.kinds() == ["requested", "awaiting_approval"]


@pytest.mark.parametrize(("age", "when"), [(301, "301 s before it came, at most 300"), (-61, "61 s in the future")])
async def test_an_approval_signed_with_a_wrong_clock_is_refused_and_is_no_violation(
    asking: Asking, age: int, when: str
) -> None:
    one = await pending(asking)
    error = (await one.decide(issued_at=asking.clock.now - age)).error
    assert error is not None
    assert error.code == "stale_statement"
    assert when in error.message
    assert error.message.endswith("the clock of the approver's machine or of NATS is wrong")
    await only_the_next_refusal_is_recorded(one)


async def test_an_approval_of_a_step_that_others_completed_is_too_late_and_is_no_violation(asking: Asking) -> None:
    know(asking, "carol", "dave", dave=["approver", "lead"])
    one = await pending(asking, TWO)
    await one.decide("bob")
    await one.decide("carol")
    assert await one.code("dave", step="restarts#1") == "decided"
    await only_the_next_refusal_is_recorded(one)


async def only_the_next_refusal_is_recorded(one: Pending) -> None:
    """Bob signs as alice: a violation. Events are recorded in their order, so an earlier one would be there too."""
    assert await one.code(approver="alice") == "bad_approval"

    async def recorded() -> bool:
        records = await one.asking.bus.journal.read(subjects.SECURITY)
        details = [event.detail for record in records if (event := security_event(record))]
        assert [detail for detail in details if "sent an approval of alice" not in detail] == []
        return bool(details)

    await eventually(recorded, what="the security event")


async def test_an_approval_after_the_time_to_decide_is_refused(asking: Asking) -> None:
    one = await pending(asking)
    asking.clock.now += 3601
    assert await one.code() == "decided"


async def test_an_agent_cannot_approve_what_its_human_requested(asking: Asking) -> None:
    one = await pending(asking)
    assert await one.code("copilot") == "not_approver"


async def test_a_rule_that_denies_approval_decide_counts(asking: Asking) -> None:
    one = await pending(asking)
    asking.files.policy(NEEDS, {"name": "nobody", "operations": ["approval_decide"], "allowed": False})
    assert await one.code() == "denied"
    assert (await one.decide(verdict="reject", nonce="cd" * 32)).state == "rejected"


async def test_the_events_are_of_their_kinds(asking: Asking) -> None:
    know(asking, "carol", "dave", dave=["lead"])
    one = await pending(asking, TWO)
    await one.decide("bob")
    event = (await one.events())[-1]
    assert isinstance(event, ApprovalGiven)
    assert (event.approver, event.remaining) == ("bob", 2)
