"""Verdicts of people at policy's endpoint: what counts, and each change of a signed one that must be refused."""

from typing import Any

import pytest
from msgspec import Raw, json, structs
from tests.policy.replica import Asking
from tests.rules.asking import NOON, at

from writ_contracts import subjects
from writ_contracts.approvals import Approval, ApprovalAnswer, ApprovalMessage, SignedApproval
from writ_contracts.decisions import Decision, Subject
from writ_contracts.journal import ApprovalGiven, Approved, AwaitingApproval, Dispatched, Rejected, Requested
from writ_contracts.requests import Verdict
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, decode_event, encode
from writ_trust.approvals import sign_approval
from writ_trust.digests import plain_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import digest, read

NEEDS = {"name": "restarts", "operations": ["service_restart"], "allowed": True, "requires_approval": True}
TWO = {
    "name": "restarts",
    "operations": ["service_restart"],
    "allowed": True,
    "approval": {"steps": [{"approvers": ["approver"], "quorum": 2}, {"approvers": ["lead"]}]},
}


class Pending:
    """A pending operation of alice's, as an executor recorded it."""

    def __init__(self, asking: Asking, subject: Subject, signed: Signed) -> None:
        self.asking, self.subject, self.signed = asking, subject, signed
        self.requested = b""

    async def events(self) -> list[Any]:
        own = subjects.operation_filter(self.subject.principal, self.subject.operation_id)
        return [decode_event(record.data) for record in await self.asking.bus.journal.read(own)]

    async def kinds(self) -> list[str]:
        return [str(event.__struct_config__.tag) for event in await self.events()]

    def approval(self, who: str = "bob", **changed: Any) -> Approval:
        return structs.replace(
            Approval(
                operation_id=self.subject.operation_id,
                requested=plain_digest(self.requested),
                decision_digest=digest(self.signed),
                step="restarts#1",
                verdict="approve",
                approver=who,
                issued_at=self.asking.clock.now,
                nonce="ab" * 32,
            ),
            **changed,
        )

    async def send(self, signed: SignedApproval, who: str = "bob", key: str = "") -> ApprovalAnswer:
        known = self.asking.files.keys[who].public if who in self.asking.files.keys else ""
        headers = {"Nats-Request-Info": json.encode({"user": key or known}).decode()}
        data = encode(ApprovalMessage(principal=self.subject.principal, approval=signed))
        answer = await self.asking.bus.request(subjects.approval(who), data, timeout=20, headers=headers)
        return decode(answer.data, ApprovalAnswer)

    async def decide(self, who: str = "bob", **changed: Any) -> ApprovalAnswer:
        return await self.send(sign_approval(self.asking.files.keys[who], self.approval(who, **changed)), who)

    async def code(self, who: str = "bob", **changed: Any) -> str:
        answer = await self.decide(who, **changed)
        assert answer.error is not None, answer
        return answer.error.code

    async def dispatched(self) -> None:
        """What an executor appends after `approved`, whatever policy would say now."""
        await self.asking.append(
            self.subject,
            Dispatched(
                **stamp(self.asking, "dispatched"),
                operation_id=self.subject.operation_id,
                principal=self.subject.principal,
                operation=self.subject.operation,
                target=self.subject.target,
                pool="a",
                attempt=1,
                parameters={},
                start_by=self.asking.clock.now + 60,
                timeout=60,
            ),
        )

    async def start(self) -> tuple[str, str]:
        """The effect and code of policy's decision on a claim."""
        answer = await self.asking.granted_as_recorded(self.subject)
        if answer.error is not None:
            return "error", answer.error.code
        assert answer.decision is not None
        decision = read(answer.decision, Decision)
        assert (answer.grant is not None) == (decision.effect == "allow")
        return decision.effect, decision.code


def stamp(asking: Asking, name: str) -> dict[str, Any]:
    return {"id": name, "at": asking.clock.now, "correlation_id": "c"}


def know(asking: Asking, *names: str, **roles: list[str]) -> None:
    """Let there be these people, besides those of the files; `roles` replaces those of somebody."""
    keys = asking.files.keys
    for name in names:
        keys.setdefault(name, Key(generate_seed()))
    people = {"alice": ["operator"], "bob": ["approver"], **{name: ["approver"] for name in names}, **roles}
    entries = [{"id": who, "kind": "human", "roles": has, "key": keys[who].public} for who, has in people.items()]
    agent = {"id": "copilot", "kind": "agent", "acts_for": "alice", "key": keys["copilot"].public}
    asking.files.write("principals", {"principals": [*entries, agent]})


async def pending(asking: Asking, rule: dict[str, Any] = NEEDS, **changed: Any) -> Pending:
    asking.files.policy(rule)
    subject = asking.subject(**changed)
    answer = await asking.decide(subject)
    assert answer.decision is not None
    decision = read(answer.decision, Decision)
    assert decision.effect == "require_approval"
    made = Pending(asking, subject, answer.decision.detached())
    requested = Requested(
        **stamp(asking, "requested"),
        operation_id=subject.operation_id,
        principal=subject.principal,
        operation=subject.operation,
        target=subject.target,
        pool="a",
        risk="change",
        idempotent=True,
        key=subject.key,
        parameters=subject.parameters,
        effective=dict(answer.effective),
        hidden=[],
        parameters_digest=decision.parameters_digest,
        fingerprint="",
        verdict=Verdict(decision=decision.effect, rules=[], reason="", code=decision.code),
        decision=made.signed,
        timeout=60,
        start_by=asking.clock.now + 60,
        idempotency_key=subject.idempotency_key,
    )
    made.requested = encode(requested)
    await asking.append(subject, requested)
    waiting = AwaitingApproval(
        **stamp(asking, "waiting"), operation_id=subject.operation_id, approvers=[], quorum=1, until=0.0
    )
    await asking.append(subject, waiting)
    return made


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
    import yaml

    loaded: dict[str, Any] = yaml.safe_load(asking.files.path("principals").read_text())
    return loaded


async def test_a_rejection_is_recorded_with_its_reason(asking: Asking) -> None:
    one = await pending(asking)
    assert (await one.decide(verdict="reject", reason="no", step="none")).state == "rejected"
    event = (await one.events())[-1]
    assert isinstance(event, Rejected)
    assert (event.approver, event.reason) == ("bob", "no")
    assert await one.code(nonce="cd" * 32) == "decided"


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


async def test_an_approval_after_the_time_to_decide_is_refused(asking: Asking) -> None:
    one = await pending(asking)
    asking.clock.now += 3601
    assert await one.code() == "decided"


async def test_a_start_without_the_approvals_is_forged(asking: Asking) -> None:
    one = await pending(asking)
    own = (one.subject.principal, one.subject.operation_id)
    last = await asking.bus.journal.last(subjects.operation_filter(*own))
    assert last is not None
    await one.decide()
    other = await pending(asking)  # the executor dispatches it at once, as if it had been allowed
    records = await asking.bus.journal.read(subjects.operation_filter("alice", other.subject.operation_id))
    assert len(records) == 2
    await other.dispatched()
    assert await other.start() == ("error", "forged_start")


async def test_a_role_taken_away_in_between_makes_it_stale(asking: Asking) -> None:
    one = await pending(asking)
    await one.decide()
    know(asking, bob=["operator"])
    await one.dispatched()
    assert await one.start() == ("deny", "stale")


async def test_a_policy_that_demands_more_in_between_makes_it_stale(asking: Asking) -> None:
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


async def test_a_target_moved_in_between_makes_it_stale(asking: Asking) -> None:
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


async def test_a_key_changed_in_between_does_not_count(asking: Asking) -> None:
    one = await pending(asking)
    await one.decide()
    asking.files.keys["bob"] = Key(generate_seed())
    know(asking)
    await one.dispatched()
    assert await one.start() == ("deny", "stale")


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
