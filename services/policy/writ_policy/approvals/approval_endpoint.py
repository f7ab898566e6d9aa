"""The endpoint of verdicts: verify a person's signature, record the verdict at the sequence that was read, then confirm
it.

If two verdicts arrive at once, the first is recorded. For the second the operation is read again, and the reply is its
new state.
"""

import time
from collections.abc import Callable

from writ_bus import tracing
from writ_bus.port import Bus, Endpoint, Entry, Message
from writ_bus.sender import sender_key
from writ_contracts import subjects, wire
from writ_contracts.errors import Conflict, Denied, Full, Untrusted, WritError
from writ_contracts.inventory import WRIT
from writ_contracts.journal import ApprovalGiven, Approved, Rejected, Requested
from writ_contracts.people.approvals import (
    Approval,
    ApprovalEvent,
    ApprovalMessage,
    ApprovalReply,
    SignedApproval,
    approvers_of,
)
from writ_contracts.signing import Signed
from writ_policy.approvals.approver_events import announce
from writ_policy.approvals.present_decision import lost_access
from writ_policy.approvals.previews import check_preview, recorded_preview
from writ_policy.approvals.recorded_operations import RecordedOperations
from writ_policy.approvals.sign_counters import SignCounters
from writ_policy.approvals.verdicts import PendingOperation, check_entitled, check_pending, repeated
from writ_policy.decisions.judge_factory import JudgeFactory
from writ_policy.decisions.rulings import OF_RULES, Judge
from writ_policy.state.snapshot import PolicySnapshot
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.decide import decide
from writ_runtime.buckets import Buckets
from writ_runtime.endpoint_frame import endpoint_handler
from writ_runtime.faults import fault
from writ_runtime.journal.security_events import SecurityEvents
from writ_runtime.logs import Log
from writ_runtime.metrics import Observer
from writ_trust.approvals import BAD, ProvenApproval, prove_approval, read_approval

CONCURRENCY = 16
LARGEST = 16_384
ATTEMPTS = 8
RATE, BURST = 50.0, 250.0
"""Verdicts of one principal: a second on average, and at once."""
Recordable = ApprovalGiven | Approved | Rejected

_log = Log("writ.policy")


class ApprovalEndpoint:
    """Serves `writ.approval.<principal>`."""

    def __init__(
        self,
        bus: Bus,
        judging: JudgeFactory,
        standings: RecordedOperations,
        security: SecurityEvents,
        rejected: Callable[[Requested], None],
        observe: Observer,
    ) -> None:
        """`rejected` counts an operation that ends by a recorded rejection."""
        self._bus = bus
        self._judging = judging
        self._standings = standings
        self._security = security
        self._rejected = rejected
        self._observe = observe
        self._buckets = Buckets(RATE, BURST)
        self._counters = SignCounters()

    def endpoint(self) -> Endpoint:
        subject = subjects.approval("x").replace(".x", ".*")
        respond = endpoint_handler("approval", self.handle, ApprovalReply, self._observe, _log)
        return Endpoint(name="approval", subject=subject, handler=respond, concurrency=CONCURRENCY)

    async def handle(self, message: Message) -> ApprovalReply:
        principal = subjects.parse_approval(message.subject)
        try:
            return await self._decide(principal, message)
        except WritError as error:
            if error.code == BAD:
                self._security.report("bad_signature", f"an approval of {principal}: {error}", None, principal)
            raise

    async def _decide(self, principal: str, message: Message) -> ApprovalReply:
        if not self._buckets.take(principal, time.monotonic()):
            raise Full(f"{principal} sends more verdicts a second than are allowed: retry later", code="rate_limited")
        content_type = message.headers.get("Content-Type", wire.JSON)
        request = wire.decode(message.data, ApprovalMessage, content_type=content_type, limit=LARGEST)
        for _ in range(ATTEMPTS):
            judge = await self._judging.now()
            approver = judge.snapshot.principal(principal, sender_key(message))
            if approver.kind != "human":
                raise Denied(f"{principal} is of kind {approver.kind}: only a person approves", code="not_approver")
            claimed = read_approval(request.approval)
            if claimed.approver != principal:
                raise Untrusted(f"{principal} sent an approval of {claimed.approver}", code=BAD)
            standing, records = await self._standings.with_records(
                request.principal, claimed.operation_id, judge.snapshot
            )
            credentials = judge.snapshot.credentials(principal, standing.requested_at)
            proven = prove_approval(request.approval, credentials, installation=judge.snapshot.installation)
            approval = proven.approval
            _check_sender(request.approval, judge.snapshot, sender_key(message))
            if repeated(standing, request.approval):
                return _reply(standing, standing.life.state, standing.open(judge.snapshot).remaining)
            preview = recorded_preview(records)
            event, remaining = self._event(standing, proven, request.approval, judge, preview)
            try:
                state = await self._append(standing, event)
            except Conflict:
                continue  # another writer was first: read the new state
            if isinstance(event, Rejected):
                self._rejected(standing.life.requested)
            self._note_counter(request.approval.credential, proven)
            await self._notify_approvers(standing, event, approval)
            return _reply(standing, state, remaining)
        raise Conflict(f"{ATTEMPTS} times another verdict was recorded first: try again", code="decided")

    def _note_counter(self, credential: str, proven: ProvenApproval) -> None:
        """Record a security event if the device's counter did not increase.

        The approval still counts: synchronised passkeys send 0, and a replaced device may begin again at 1.
        """
        if (before := self._counters.note(credential, proven.counter)) is not None:
            detail = (
                f"credential {credential[:12]} of {proven.person} signed with counter {proven.counter} after {before}"
            )
            operation_id, approver = proven.approval.operation_id, proven.approval.approver
            self._security.report("credential_copied", f"{detail}: it may have been copied", operation_id, approver)

    def _event(
        self,
        standing: PendingOperation,
        proven: ProvenApproval,
        signed: SignedApproval,
        judge: Judge,
        preview: Signed | None,
    ) -> tuple[Recordable, int]:
        """Return the event to record, and how many approvals are still needed after it. Raises WritError for a refused
        verdict.
        """
        approval = proven.approval
        check_pending(standing, approval, judge.now)
        check_entitled(standing, approval, judge.snapshot)
        stamp = tracing.stamp(judge.now, standing.life.requested.correlation_id)
        common = {**stamp, "operation_id": approval.operation_id, "approver": approval.approver}
        if approval.verdict == "reject":
            return Rejected(**common, approval=signed.detached(), reason=approval.reason), 0
        if lost := lost_access(standing, judge.snapshot):
            raise Denied(f"it would not start: {lost}", code=lost.code)
        check_preview(preview, standing.decision, judge.catalogue.find(standing.decision.operation), judge.snapshot)
        needed = standing.presence_of(approval.step, approval.approver, judge.snapshot)
        if not proven.presence.meets(needed):
            reason = f"it needs the proof {needed}, and the signature proves {proven.presence}"
            raise Untrusted(reason, code="proof_too_weak")
        _check_rules(approval, judge)
        after = standing.open(judge.snapshot, proven)
        if after.complete:
            return Approved(**common, approvals=[*standing.signed, signed.detached()]), 0
        return ApprovalGiven(**common, approval=signed.detached(), remaining=after.remaining), after.remaining

    async def _append(self, standing: PendingOperation, event: Recordable) -> str:
        """Append the event if nothing was written since the operation was read, and return the new state. Raises
        Conflict.
        """
        own = (standing.asker.id, event.operation_id)
        kind = str(event.__struct_config__.tag)
        entry = Entry(
            subject=subjects.operation_event(*own, kind),
            data=wire.encode(event),
            event_id=event.id,
            filter=subjects.operation_filter(*own),
            expected=standing.life.sequence,
        )
        fault("policy.approving")
        await self._bus.journal.append(entry)
        fault("policy.approved")
        return {"approved": "approved", "rejected": "rejected"}.get(kind, "awaiting_approval")

    async def _notify_approvers(self, standing: PendingOperation, event: Recordable, approval: Approval) -> None:
        """Send each approver an event."""
        kind = {"approval_given": "given"}.get(str(event.__struct_config__.tag), str(event.__struct_config__.tag))
        decision = standing.decision
        about = ApprovalEvent(
            kind=kind,
            operation_id=decision.operation_id,
            principal=decision.principal,
            operation=decision.operation,
            target=decision.target,
            until=standing.until,
            by=approval.approver,
            reason=approval.reason,
        )
        await announce(self._bus, approvers_of(standing.demands), about)


def _check_rules(approval: Approval, judge: Judge) -> None:
    """Raise Denied if a rule denies this person `approval_decide`.

    The roles of the demand permit an approval without any allow rule, but a deny rule counts.
    """
    operation = judge.catalogue.find("approval_decide")
    parameters = {
        "operation_id": approval.operation_id,
        "decision_digest": approval.decision_digest,
        "verdict": approval.verdict,
    }
    request = DecisionRequest(
        operation=operation,
        target=WRIT,
        principal=judge.snapshot.principals[approval.approver],
        parameters=parameters,
        effective=operation.check(parameters),
        at=judge.now,
    )
    ruling = decide(judge.snapshot.policy, request, judge.control, judge.snapshot.people)
    if ruling.effect == "deny" and ruling.code in OF_RULES:
        raise Denied(f"a rule does not let {approval.approver} approve: {ruling.reason}", code="denied")


def _check_sender(signed: SignedApproval, snapshot: PolicySnapshot, sender: str) -> None:
    """Raise Untrusted if another session's key signed the approval than the one that sent it: that session may have
    expired.
    """
    if signed.credential in snapshot.sessions and signed.credential != sender:
        raise Untrusted("it was signed in one session and sent in another", code=BAD)


def _reply(standing: PendingOperation, state: str, remaining: int) -> ApprovalReply:
    shown = standing.life.outcome or state
    return ApprovalReply(operation_id=standing.exact.operation_id, state=str(shown), remaining=remaining)
