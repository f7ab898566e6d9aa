"""Approvals at the start: changes since they were given, and conditions that override them."""

from collections.abc import Callable

import pytest
from msgspec import Raw, structs
from tests.policy.approving import NEEDS, TWO, Pending, awaiting, know, pending, stamp
from tests.policy.replica import KEY, Asking

from writ_contracts import subjects
from writ_contracts.decisions import Decision, changed_since
from writ_contracts.journal import Approved, Finished
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.wire import canonical
from writ_trust.approvals import sign_approval
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import read


async def test_a_start_without_the_approvals_is_forged(asking: Asking) -> None:
    one = await pending(asking)
    own = (one.subject.principal, one.subject.operation_id)
    last = await asking.bus.journal.last(subjects.operation_filter(*own))
    assert last is not None
    await one.decide()
    other = await pending(asking, previewed=False)  # the executor dispatches it at once, as if it had been allowed
    records = await asking.bus.journal.read(subjects.operation_filter("alice", other.subject.operation_id))
    assert len(records) == 2
    await other.dispatched()
    assert await other.start() == ("error", "forged_start")


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (lambda one, bob, _: sign_approval(Key(generate_seed()), one.approval()), "stale"),
        (lambda one, bob, _: structs.replace(bob, payload=Raw(canonical(one.approval(reason="another")))), "stale"),
        (lambda one, bob, _: sign_approval(one.asking.files.keys["alice"], one.approval("alice")), "stale"),
        (lambda one, bob, other: other, "stale"),
        (lambda one, bob, _: sign_approval(one.asking.files.keys["bob"], one.approval(verdict="reject")), "stale"),
        (lambda one, bob, _: bob, "approved"),
    ],
    ids=["other key", "altered", "of the requester", "of another operation", "a rejection", "true"],
)
async def test_an_approval_made_or_altered_in_the_record_by_others_starts_nothing(
    asking: Asking, forge: Callable[..., SignedApproval], code: str
) -> None:
    """The owner of the NATS server can store any event; a start depends on the approvers' signatures."""
    one, elsewhere = await pending(asking), await pending(asking)
    bob, other = (sign_approval(asking.files.keys["bob"], each.approval()) for each in (one, elsewhere))
    event = Approved(
        **stamp(asking, "forged"),
        operation_id=one.subject.operation_id,
        approver="bob",
        approvals=[forge(one, bob, other)],
    )
    await asking.append(one.subject, event)
    await one.dispatched()
    assert (await one.start())[1] == code


async def test_an_approved_operation_with_other_parameters_than_at_its_request_is_forged(asking: Asking) -> None:
    one = await pending(asking)
    await one.decide()
    await one.dispatched()
    other = structs.replace(one.subject, parameters={**one.subject.parameters, "timeout": 33})
    answer = await asking.granted_as_recorded(other)
    assert answer.error is not None
    assert answer.error.code == "forged_start"
    assert await one.start() == ("allow", "approved")


async def test_operation_is_stale_after_the_role_is_taken_away(asking: Asking) -> None:
    one = await pending(asking)
    await one.decide()
    know(asking, bob=["operator"])
    await one.dispatched()
    assert await one.start() == ("deny", "stale")


async def test_operation_is_stale_after_the_policy_demands_more_approvals(asking: Asking) -> None:
    know(asking, "carol", "dave", dave=["lead"])
    one = await pending(asking)
    await one.decide()
    asking.files.policy(TWO)
    await one.dispatched()
    assert await one.start() == ("deny", "stale")


async def test_a_policy_that_denies_in_between_wins(asking: Asking) -> None:
    one = await pending(asking)
    await one.decide()
    asking.files.policy(
        NEEDS, {"name": "freeze", "operations": ["service_restart"], "allowed": False, "targets": ["web-a"]}
    )
    await one.dispatched()
    assert await one.start() == ("deny", "denied")


async def test_operation_is_stale_after_the_target_changed(asking: Asking) -> None:
    one = await pending(asking)
    await one.decide()
    inventory = asking.files.path("inventory").read_text()
    asking.files.write("inventory", inventory.replace("web-a\n", "web-a\n  tags: [moved]\n", 1))
    await one.dispatched()
    assert await one.start() == ("deny", "stale")


async def test_a_stop_in_between_wins(asking: Asking) -> None:
    one = await pending(asking)
    await one.decide()
    await asking.control("stop_set", {"scope": ["*"], "reason": "a freeze"})
    await one.dispatched()
    assert await one.start() == ("deny", "stopped")


async def test_time_to_decide_stands_still_during_a_stop(asking: Asking) -> None:
    one = await pending(asking)
    asking.clock.now += 3_000
    await asking.control("stop_set", {"scope": ["web-*"], "reason": "a freeze", "until": asking.clock.now + 7_200})
    asking.clock.now += 7_700
    assert (await one.decide()).state == "approved"
    other = await pending(asking)
    asking.clock.now += 3_700
    assert await other.code() == "decided"  # it was not held up


async def test_a_freeze_window_that_opens_in_between_wins(asking: Asking) -> None:
    freeze = {
        "name": "evening freeze",
        "operations": ["service_restart"],
        "allowed": False,
        "time_restrictions": [{"start_time": "13:00", "end_time": "23:00", "timezone": "UTC"}],
    }
    one = await pending(asking)
    asking.files.policy(NEEDS, freeze)
    await one.decide()
    assert (await asking.decision(structs.replace(one.subject, recorded=True))).effect == "allow"
    asking.clock.now += 1.5 * 3600
    await one.dispatched()
    assert await one.start() == ("deny", "denied")


async def test_an_emergency_ended_in_between_needs_the_approvals_again(asking: Asking) -> None:
    """An emergency waives approvals only for operations that start before it ends."""
    urgent = {"name": "urgent", "operations": ["service_restart"], "allowed": True}
    rules = [NEEDS, {"name": "declares", "operations": ["emergency_declare"], "allowed": True}]
    asking.files.policy(*rules, emergency_policies=[urgent])
    until = asking.clock.now + 600
    body = {"scope": ["web-*"], "reason": "it burns", "until": until}
    declared = asking.signed(asking.subject("emergency_declare", "writ", parameters=body))
    answer = await asking.decide(declared)
    named = {"operation_id": declared.operation_id, "parameters_key": KEY, "id": declared.operation_id}
    sequence = await asking.control("emergency_declare", answer.effective, answer.decision, **named)
    one, late = asking.subject(), asking.subject()
    for subject in (one, late):
        first = await asking.decide(subject, control_sequence=sequence)
        assert first.decision is not None, first
        assert read(first.decision, Decision).effect == "allow"
        await asking.record(subject, first.decision.detached())
    assert (await asking.granted_as_recorded(one)).grant is not None
    asking.clock.now = until + 1
    refused = await asking.granted_as_recorded(late)
    assert refused.grant is None
    assert refused.decision is not None
    assert read(refused.decision, Decision).effect == "require_approval"


async def test_a_key_changed_in_between_does_not_count(asking: Asking) -> None:
    one = await pending(asking)
    await one.decide()
    asking.files.keys["bob"] = Key(generate_seed())
    know(asking)
    await one.dispatched()
    assert await one.start() == ("deny", "stale")


async def test_approvals_of_what_has_ended_count_no_more(asking: Asking) -> None:
    """An executor that withholds an approved operation until it expires gets no allow, nor for a rejected one."""
    one = await pending(asking)
    await one.decide()
    recorded = structs.replace(one.subject, recorded=True)
    assert (await asking.decision(recorded)).effect == "allow"
    expired = Finished(**stamp(asking, "end"), operation_id=one.subject.operation_id, outcome="expired")
    await asking.append(one.subject, expired)
    assert (await asking.decision(recorded)).effect == "require_approval"
    know(asking, "carol", "dave", dave=["lead"])
    other = await pending(asking, TWO)
    await other.decide("bob")
    await other.decide("carol", verdict="reject")
    asking.files.policy(NEEDS)  # by now one approval would do, and bob's is on record
    assert (await asking.decision(structs.replace(other.subject, recorded=True))).effect == "require_approval"


EMERGENCIES = {
    "name": "emergencies",
    "operations": ["emergency_declare", "emergency_confirm"],
    "allowed": True,
    "requires_approval": True,
    "inherit": False,
}


async def declared(asking: Asking, seconds: float) -> Pending:
    """Declare an emergency requested by alice, with bob's approval required."""
    asking.files.policy(EMERGENCIES)
    expected = {"scope": ["*"], "reason": "it burns", "until": asking.clock.now + seconds}
    return await awaiting(asking, asking.signed(asking.subject("emergency_declare", "writ", parameters=expected)))


async def test_an_approved_emergency_is_the_one_that_was_approved(asking: Asking) -> None:
    """Its end and the time to confirm it, which policy sets, are settled at the request: they do not move on with the
    approval, and the time to confirm it begins when the time to approve it is over.
    """
    one = await declared(asking, 8 * 3600 + 30)  # over the bound by a clock that is ahead
    requested = asking.clock.now
    asking.clock.now += 3000
    assert (await one.decide(step="emergencies#1")).state == "approved"
    now = await asking.decide(structs.replace(one.subject, recorded=True))
    assert now.decision is not None, now
    decision = read(now.decision, Decision)
    assert (decision.effect, changed_since(read(one.signed, Decision), decision)) == ("allow", "")
    assert now.effective["until"] == requested + 8 * 3600
    assert now.effective["confirm_by"] == requested + 3600 + 1800


async def test_an_emergency_that_was_approved_after_its_end_is_not_declared(asking: Asking) -> None:
    one = await declared(asking, 600)
    asking.clock.now += 900
    assert (await one.decide(step="emergencies#1")).state == "approved"
    assert await asking.code(structs.replace(one.subject, recorded=True)) == "invalid_parameters"
