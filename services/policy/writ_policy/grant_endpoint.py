"""Grants: read the operation, decide again, sign, append `granted` at the sequence that was read, and only then reply.

The read may be stale, and time passes until the append. The expected sequence covers both: any write in between makes
the append fail, and then nothing has started.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from writ_bus import tasks
from writ_bus.port import Bus, Entry, Journal
from writ_contracts import subjects
from writ_contracts.agents import Claim
from writ_contracts.decisions import DecideRequest, Decision, GrantReply, GrantRequest, Subject
from writ_contracts.errors import Conflict, Invalid, Unreachable, Untrusted
from writ_contracts.history.records import Record
from writ_contracts.journal import MAX_EVENT_BYTES, Granted, LimitHolder
from writ_contracts.people.approvals import ApprovalEvent
from writ_contracts.wire import encode
from writ_policy.approvals.approver_events import announce
from writ_policy.approvals.previews import moved_since, recorded_preview
from writ_policy.decisions.facts import KnownFacts
from writ_policy.decisions.grants import (
    check_claim,
    grant,
    granted_event,
    listing_grant,
    refuse_moved,
    verified_claim,
)
from writ_policy.decisions.judge_factory import JudgeFactory
from writ_policy.decisions.left_out_texts import check_left_out, check_plain
from writ_policy.decisions.recorded_approvals import CountedApprovals, approvals_of
from writ_policy.decisions.rulings import Judge, RuledRequest
from writ_policy.decisions.signer import DecisionSigner
from writ_policy.limits import RuleLimits
from writ_policy.starts import (
    MOVED_ON,
    RecordedOperation,
    SetForward,
    changed_parameters,
    changed_record,
    check_first_decision,
    check_recorded_parameters,
    check_start,
    recorded_of,
    requested_pool,
)
from writ_policy.state.control_reads import ControlReads
from writ_policy.windows.open_windows import CountedFirst, OpenWindows
from writ_runtime.faults import fault
from writ_trust.keys import Key
from writ_trust.statements import VerifiedSignature, sign

MOST_TRIES = 64
DISPATCHED = 2
"""The least number of events of an operation that waits for its start: `requested` and `dispatched`. They may be one
event for what only reads.
"""
Gather = Callable[[GrantRequest | DecideRequest, Judge], Awaitable[KnownFacts]]
"""Returns the checked facts of a request, together with those that policy has itself."""


class GrantEndpoint:
    """Serves requests for grants."""

    def __init__(
        self,
        journal: Journal,
        judging: JudgeFactory,
        gather: Gather,
        key: Key,
        signer: DecisionSigner,
        keys: Mapping[str, int],
        windows: OpenWindows,
        bus: Bus,
        set_forward: SetForward,
    ) -> None:
        """Grant claims on operations in `journal`.

        `keys`: policy's keys, each with the last event of the journal that it may have signed. `bus`: for events to
        approvers.
        """
        self._bus = bus
        self._windows = windows
        self._journal = journal
        self._control = ControlReads(journal)
        self._judging = judging
        self._gather = gather
        self._key = key
        self._signer = signer
        self._limits = RuleLimits(journal, key.installation)
        self._keys = keys
        self._set_forward = set_forward

    async def recorded(self, ask: DecideRequest, judge: Judge) -> CountedApprovals | None:
        """Return the recorded approvals of the operation, or None if it is not recorded.

        Raises ForgedStart if the request claims a decision that is not in the journal.
        """
        subject = ask.subject
        if not subject.recorded:
            return None
        records = await self._journal.read(subjects.operation_filter(subject.principal, subject.operation_id))
        recorded = recorded_of(records, subject)
        self._first_decision(recorded, subject, judge)
        return approvals_of(recorded, records, judge.snapshot)

    def _first_decision(self, recorded: RecordedOperation, subject: Subject, judge: Judge) -> Decision:
        return check_first_decision(recorded, subject, self._keys, self._signer.open, judge.now, self._set_forward)

    async def grant(self, ask: GrantRequest) -> tuple[GrantReply, RuledRequest]:
        """Return the grant or the denial. If another start was counted first, decide once more.

        Raises Unreachable if others are always first: the operation has not moved on, and the agent sends the claim
        again later.
        """
        for _ in range(MOST_TRIES):
            try:
                return await self._grant(ask)
            except CountedFirst:
                continue
        raise Unreachable(f"{MOST_TRIES} times another start was counted first: try again")

    async def _grant(self, ask: GrantRequest) -> tuple[GrantReply, RuledRequest]:
        """Return the grant after it was recorded, or the denying decision.

        Raises Conflict (`moved_on`) if the operation no longer waits for this claim, ForgedStart if no executor may
        request it, and errors of the append: after TimedOut the operation may have started.
        """
        subject = ask.subject
        if subject.simulate:
            raise Invalid("a simulation gets no grant")
        reading = self._control.begin()  # a stop that was stored meanwhile counts
        signature, records = await self._read_while_verifying(ask)
        least = max(ask.control_sequence, await asyncio.shield(reading))
        judge = await self._judging.at(least, target=subject.target)
        try:
            claim = check_claim(ask, signature, judge.snapshot)
        except Untrusted:
            refuse_moved(ask, signature, judge.snapshot, requested_pool(records, subject))
            raise
        recorded = recorded_of(records, subject)
        first = self._first_decision(recorded, subject, judge)
        operation, agents = judge.catalogue.find(subject.operation), judge.snapshot.agents[claim.pool]
        check_start(recorded, first, claim, operation, agents, self._keys.keys(), judge.now, self._set_forward)
        counted = approvals_of(recorded, records, judge.snapshot)
        check_left_out(ask, operation, judge.snapshot.policy)
        ruled = await self._rule(ask, judge, recorded, first, records, claim, counted)
        check_plain(subject, ruled.decision)
        if ruled.ruling.effect != "allow":
            return self._refused(ask, ruled), ruled
        decision = self._signer.sign(ruled.decision)
        permit = grant(ask, claim, ruled, decision, counted if ruled.decision.approvals else None)
        writ = sign(self._key, permit)
        event = granted_event(ask, claim, ruled, permit, decision, writ, recorded.requested.correlation_id)
        starts = await self._counted(judge, ruled, event)
        await self._append(recorded, event, starts)
        if ruled.decision.passed_over and claim.attempt == 1:
            await announce(self._bus, ruled.decision.passed_over, _passed_over(ruled.decision))
        effective, approvals = dict(ruled.ruling.effective), list(counted.signed) if permit.approvals else []
        return GrantReply(grant=writ, decision=decision, effective=effective, approvals=approvals), ruled

    async def _read_while_verifying(self, ask: GrantRequest) -> tuple[VerifiedSignature, list[Record]]:
        """Return the claim's valid signature, and the events of the operation, which NATS reads meanwhile."""
        subject = ask.subject
        own = subjects.operation_filter(subject.principal, subject.operation_id)
        least_events = 1 if self._judging.only_reads(subject.operation) else DISPATCHED
        await asyncio.sleep(0)  # the read of the last control event is sent first: it takes longer
        verifying = tasks.soon(partial(verified_claim, ask))
        records = await self._journal.read(own, at_least=least_events)
        return await verifying, records

    async def _rule(
        self,
        ask: GrantRequest,
        judge: Judge,
        recorded: RecordedOperation,
        first: Decision,
        records: Sequence[Record],
        claim: Claim,
        counted: CountedApprovals,
    ) -> RuledRequest:
        """Decide again for the start, by the approvals of the operation or of a window, and under all names of the
        object.
        """
        subject = ask.subject
        known = await self._gather(ask, judge)
        rule = partial(judge.rule, subject, known, starting=True, recorded=True, traced=ask.traced)
        ruled = await self._windows.apply(judge, subject, rule(approvals=counted), rule)
        if not ruled.request.operation.baseline:
            ruled = judge.under_listed_names(ruled)
        if ruled.ruling.effect == "allow":
            ruled = judge.under_other_names(ruled, claim.baseline.get("names"))
        changed = changed_parameters(subject, first, ruled.decision)
        check_recorded_parameters(recorded, subject)
        changed = changed or changed_record(recorded, subject, ruled.ruling.effective)
        if changed and ruled.ruling.effect == "allow":
            ruled = judge.stale(ruled, changed)
        if recorded.life.approvals:
            moved = moved_since(recorded_preview(records), ruled.request.operation, claim.baseline)
            ruled = judge.unless_stale(ruled, first, moved)
        if ruled.ruling.effect == "require_approval" and first.window:
            ruled = await self._windows.lapsed(judge, ruled, first.window)
        return judge.unless_other_plugin(ruled, claim)

    async def _counted(self, judge: Judge, ruled: RuledRequest, event: Granted) -> list[Entry]:
        """Return the entries to store with the start: its places under limits, and its use of a window."""
        decision = ruled.decision
        if not decision.limits and not decision.window:
            return []
        holder = LimitHolder(
            operation_id=decision.operation_id,
            principal=decision.principal,
            target=decision.target,
            until=event.deadline,
        )
        counted = await self._limits.take(decision.limits, holder, judge.now, event.correlation_id)
        use = await self._windows.use(judge, ruled) if decision.window else None
        return [*counted, *([] if use is None else [use])]

    def _refused(self, ask: GrantRequest, ruled: RuledRequest) -> GrantReply:
        grant_for_listings = listing_grant(ask.subject, ask.look_key, ruled)
        signed_grant = None if grant_for_listings is None else sign(self._key, grant_for_listings)
        return GrantReply(decision=self._signer.sign(ruled.decision), look=signed_grant, needs=ruled.sources)

    async def _append(self, recorded: RecordedOperation, event: Granted, counted: Sequence[Entry]) -> None:
        """Store the start together with the entries that count it.

        Raises Conflict (`moved_on`) if the operation was written to since it was read, and CountedFirst if only the
        counts changed.
        """
        requested, data = recorded.requested, encode(event)
        if len(data) > MAX_EVENT_BYTES:
            raise Invalid(f"a start of {len(data)} bytes, at most {MAX_EVENT_BYTES} are kept", code="oversize")
        entry = Entry(
            subject=subjects.operation_event(requested.principal, requested.operation_id, "granted"),
            data=data,
            event_id=event.id,
            filter=subjects.operation_filter(requested.principal, requested.operation_id),
            expected=recorded.life.sequence,
        )
        fault("policy.granting")
        try:
            await self._journal.append_together([*counted, entry])
        except Conflict as error:
            last = await self._journal.last(entry.filter) if counted else None
            if last is not None and last.sequence == entry.expected:
                raise CountedFirst from error
            raise Conflict(f"{requested.operation_id} has changed since: {error}", code=MOVED_ON) from error
        fault("policy.granted")


def _passed_over(decision: Decision) -> ApprovalEvent:
    return ApprovalEvent(
        kind="passed_over",
        operation_id=decision.operation_id,
        principal=decision.principal,
        operation=decision.operation,
        target=decision.target,
        reason=f"in emergency {decision.emergency}",
    )
