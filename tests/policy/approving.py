"""A pending operation, and its approvers."""

from typing import Any

from msgspec import json, structs
from tests.policy.replica import Asking

from writ_contracts import subjects
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.decisions import Decision, Subject
from writ_contracts.journal import AwaitingApproval, Dispatched, PreviewTaken, Requested
from writ_contracts.operations import Catalogue
from writ_contracts.parameters import public
from writ_contracts.people.approvals import Approval, ApprovalMessage, ApprovalReply, SignedApproval
from writ_contracts.people.previews import Preview
from writ_contracts.requests import Verdict
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, decode_event, encode
from writ_trust.approvals import sign_approval
from writ_trust.digests import plain_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import digest, read, sign

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
        self.preview: Signed | None = None

    async def events(self) -> list[Any]:
        own = subjects.operation_filter(self.subject.principal, self.subject.operation_id)
        return [decode_event(record.data) for record in await self.asking.bus.journal.read(own)]

    async def kinds(self) -> list[str]:
        """The kinds of its events but for its preview."""
        tags = [str(event.__struct_config__.tag) for event in await self.events()]
        return [tag for tag in tags if tag != "preview_taken"]

    def approval(self, who: str = "bob", **changed: Any) -> Approval:
        return structs.replace(
            Approval(
                operation_id=self.subject.operation_id,
                requested=plain_digest(self.requested),
                decision_digest=digest(self.signed),
                step="restarts#1",
                verdict="approve",
                preview=digest(self.preview) if self.preview else None,
                approver=who,
                issued_at=self.asking.clock.now,
                nonce="ab" * 32,
            ),
            **changed,
        )

    async def send(self, signed: SignedApproval, who: str = "bob", key: str = "") -> ApprovalReply:
        known = self.asking.files.keys[who].public if who in self.asking.files.keys else ""
        headers = {"Nats-Request-Info": json.encode({"user": key or known}).decode()}
        data = encode(ApprovalMessage(principal=self.subject.principal, approval=signed))
        answer = await self.asking.bus.request(subjects.approval(who), data, timeout=20, headers=headers)
        return decode(answer.data, ApprovalReply)

    async def decide(self, who: str = "bob", **changed: Any) -> ApprovalReply:
        return await self.send(sign_approval(self.asking.files.keys[who], self.approval(who, **changed)), who)

    async def code(self, who: str = "bob", **changed: Any) -> str:
        answer = await self.decide(who, **changed)
        assert answer.error is not None, answer
        return answer.error.code

    async def dispatched(self) -> None:
        """Store the event that an executor appends after `approved`, whatever policy would decide now."""
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
    """Add these people to those of the files; `roles` replaces the roles of some."""
    keys = asking.files.keys
    for name in names:
        keys.setdefault(name, Key(generate_seed()))
    people = {"alice": ["operator"], "bob": ["approver"], **{name: ["approver"] for name in names}, **roles}
    entries = [{"id": who, "kind": "human", "roles": has, "key": keys[who].public} for who, has in people.items()]
    agent = {"id": "copilot", "kind": "agent", "acts_for": "alice", "key": keys["copilot"].public}
    asking.files.write("principals", {"principals": [*entries, agent]})


async def pending(asking: Asking, rule: dict[str, Any] = NEEDS, *, previewed: bool = True, **changed: Any) -> Pending:
    asking.files.policy(rule)
    one = await awaiting(asking, asking.subject(**changed))
    if previewed and Catalogue(BUILT_IN).find(one.subject.operation).preview:
        await preview(one)
    return one


async def preview(one: Pending, by: str = "agent-a", **changed: Any) -> Signed:
    """Record a preview signed by this agent."""
    subject = one.subject
    body = Preview(
        operation_id=subject.operation_id,
        operation=subject.operation,
        target=subject.target,
        pool="a",
        instance="one",
        look_digest="ab" * 32,
        parameters_digest=read(one.signed, Decision).parameters_digest,
        taken_at=one.asking.clock.now,
        shown={"would": "change"},
    )
    one.preview = sign(one.asking.files.keys[by], structs.replace(body, **changed))
    event = PreviewTaken(**stamp(one.asking, "preview"), operation_id=subject.operation_id, preview=one.preview)
    await one.asking.append(subject, event)
    return one.preview


async def awaiting(asking: Asking, subject: Subject) -> Pending:
    """Record a request for which policy demands approvals, as an executor does."""
    answer = await asking.decide(subject)
    assert answer.decision is not None
    decision = read(answer.decision, Decision)
    assert decision.effect == "require_approval"
    made = Pending(asking, subject, answer.decision.detached())
    parameters = Catalogue(BUILT_IN).find(subject.operation).parameters
    effective = public(parameters, answer.effective)
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
        parameters=public(parameters, subject.parameters),
        effective=effective,
        hidden=[name for name in answer.effective if name not in effective],
        parameters_digest=decision.parameters_digest,
        fingerprint="",
        verdict=Verdict(decision=decision.effect, rules=[], reason="", code=decision.code),
        decision=made.signed,
        timeout=60,
        start_by=asking.clock.now + 60,
        idempotency_key=subject.idempotency_key,
        statement=subject.statement,
        salt=subject.salt,
    )
    made.requested = encode(requested)
    await asking.append(subject, requested)
    await asking.append(subject, waiting(asking, subject, decision))
    return made


def waiting(asking: Asking, subject: Subject, decision: Decision) -> AwaitingApproval:
    return AwaitingApproval(
        **stamp(asking, "waiting"),
        operation_id=subject.operation_id,
        approvers=[],
        quorum=1,
        until=asking.clock.now + 3_600,
        demands=decision.demands,
    )
