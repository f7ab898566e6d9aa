"""Approvers' queries: the operations that wait for them, and one of these with everything that an approver verifies.

Pending operations are found by their `awaiting_approval` events. Each query reads the events since the last one. An
operation no longer waits when its time to decide is over, which bounds the memory. The latest ones that no longer wait
are kept, so that they can be found by the beginning of an id.
"""

import asyncio
from collections.abc import Callable
from itertools import islice

from msgspec import Struct, structs

from writ_bus.port import Journal, Message
from writ_bus.sender import sender_key
from writ_contracts.errors import Denied, Invalid, WritError
from writ_contracts.history.records import Record
from writ_contracts.journal import AwaitingApproval
from writ_contracts.life import State
from writ_contracts.people.approvals import (
    ApprovalCard,
    ApprovalCardReply,
    ApprovalQuery,
    ApprovalsQuery,
    ApprovalsReply,
    DecisionDemand,
    PendingApproval,
)
from writ_contracts.people.credentials import KEY
from writ_contracts.signing import Signed
from writ_contracts.subjects import JOURNAL, any_operation_filter, every_operation_filter, parse_event, parse_query
from writ_contracts.wire import event_of
from writ_policy.approvals.present_decision import warning_of
from writ_policy.approvals.previews import approval_facts, last_change_of, recorded_preview
from writ_policy.approvals.recorded_operations import RecordedOperations
from writ_policy.approvals.verdicts import PendingOperation
from writ_policy.decisions.judge_factory import JudgeFactory
from writ_policy.decisions.rulings import Judge
from writ_policy.endpoints.versions import QueryHandler, decode_query
from writ_policy.state.snapshot import PolicySnapshot
from writ_runtime.logs import Log
from writ_trust.keys import Key
from writ_trust.statements import sign

AWAITING = every_operation_filter("awaiting_approval")
BATCH = 1_000
AT_ONCE = 25
"""Operations of a page that are read at once. One after the other, a busy machine took 14 ms for each."""
MOST_FORMER = 10_000
MOST_IDS = 5

_log = Log("writ.policy")


class WaitingOperation(Struct, frozen=True, kw_only=True):
    """An operation that waited for approval when it was last read.

    Executors wrote this event, so it only helps to find the operation and gives nobody a right.
    """

    principal: str
    operation_id: str
    sequence: int
    since: float
    until: float
    demands: list[DecisionDemand]


class PendingApprovals:
    """Serves the queries `approvals` and `approval`."""

    def __init__(
        self,
        journal: Journal,
        judging: JudgeFactory,
        standings: RecordedOperations,
        clock: Callable[[], float],
        key: Key,
    ) -> None:
        self._journal = journal
        self._judging = judging
        self._standings = standings
        self._clock = clock
        self._key = key
        self._read = 0
        self._waiting: dict[str, WaitingOperation] = {}
        self._former: dict[str, WaitingOperation] = {}

    def by_name(self) -> dict[str, QueryHandler]:
        return {"query_approvals": self.approvals, "query_approval": self.approval}

    async def approvals(self, message: Message) -> ApprovalsReply:
        """Return the pending operations on which the sender may decide now or later."""
        query: ApprovalsQuery = decode_query(message, ApprovalsQuery)
        judge, who = await self._judging.now(), parse_query(message.subject)[0]
        judge.snapshot.principal(who, sender_key(message))
        await self._read_on()
        if query.begins_with is not None:
            return ApprovalsReply(ids=await self._beginning_with(query.begins_with, who, judge.snapshot))
        in_order = sorted(self._waiting.values(), key=lambda one: one.sequence)
        waiting = (one for one in in_order if one.sequence > query.after and _concerns(one, who, judge.snapshot))
        pending, last = list[PendingApproval](), query.after
        while batch := list(islice(waiting, min(AT_ONCE, query.limit - len(pending)))):
            shown = await asyncio.gather(*(self._shown(one, who, judge) for one in batch))
            pending += [one for one in shown if one is not None]
            last = batch[-1].sequence
        return ApprovalsReply(pending=pending, more=next(waiting, None) is not None, last=last)

    async def approval(self, message: Message) -> ApprovalCardReply:
        """Return one operation that needed approval: to its approvers, its requester, and the human that the
        requester acts for.
        """
        query: ApprovalQuery = decode_query(message, ApprovalQuery)
        judge, who = await self._judging.now(), parse_query(message.subject)[0]
        judge.snapshot.principal(who, sender_key(message))
        records = await self._journal.read(any_operation_filter(query.operation_id), limit=1)
        where = parse_event(records[0].subject) if records else None
        if where is None:
            raise Invalid(f"there is no operation {query.operation_id}", code="not_found")
        standing, records = await self._standings.with_records(where.principal, query.operation_id, judge.snapshot)
        concerned = standing.open(judge.snapshot).later | {standing.asker.id, standing.asker.acts_for}
        if who not in concerned | set(standing.approvers) and not _entitled(standing.demands, who, judge.snapshot):
            raise Denied(f"{query.operation_id} cannot be decided by {who}", code="not_approver")
        card = _card(standing, records[0].data, who, judge.snapshot)
        return ApprovalCardReply(card=await self._vouched(card, standing, recorded_preview(records), who, judge))

    async def _beginning_with(self, beginning: str, who: str, snapshot: PolicySnapshot) -> list[str]:
        known = {**self._former, **self._waiting}
        matching = [one for number, one in known.items() if number.startswith(beginning)]
        matching = [one for one in matching if _entitled(one.demands, who, snapshot)]
        latest = sorted(matching, key=lambda one: -one.sequence)[:MOST_IDS]
        return [one.operation_id for one in latest if await self._may_be_shown(one, who, snapshot)]

    async def _may_be_shown(self, one: WaitingOperation, who: str, snapshot: PolicySnapshot) -> bool:
        """Return whether the demands in policy's own decision, not only those in the event, name a role of theirs."""
        try:
            standing = await self._standings.of(one.principal, one.operation_id, snapshot)
        except WritError as error:
            _log.warning("approvals.unreadable", operation_id=one.operation_id, error=str(error))
            return False
        return _entitled(standing.demands, who, snapshot)

    def _no_longer_waits(self, operation_id: str) -> None:
        one = self._waiting.pop(operation_id, None)
        if one is not None:
            self._former[operation_id] = one
        if len(self._former) > MOST_FORMER:
            del self._former[next(iter(self._former))]

    async def _vouched(
        self, card: ApprovalCard, standing: PendingOperation, preview: Signed | None, who: str, judge: Judge
    ) -> ApprovalCard:
        decision = standing.decision
        last = await last_change_of(self._journal, decision.target, self._standings.keys, judge.snapshot.installation)
        operation = judge.catalogue.find(decision.operation)
        facts = approval_facts(standing, preview, operation, who, judge.snapshot, last, judge.now)
        warning = warning_of(standing, judge) if standing.life.state is State.AWAITING_APPROVAL else ""
        return structs.replace(card, preview=preview, facts=sign(self._key, facts), warning=warning)

    async def _shown(self, one: WaitingOperation, who: str, judge: Judge) -> PendingApproval | None:
        try:
            standing = await self._standings.of(one.principal, one.operation_id, judge.snapshot)
        except WritError as error:
            _log.warning("approvals.unreadable", operation_id=one.operation_id, error=str(error))
            return None
        if standing.life.state is not State.AWAITING_APPROVAL:
            self._no_longer_waits(one.operation_id)
            return None
        return _listed(one, standing, who, judge)

    async def _read_on(self) -> None:
        # On from the end of the journal, not from the last such event: the server would search all between each time.
        last = await self._journal.last(JOURNAL)
        end = last.sequence if last else 0
        if end < self._read:  # another journal
            self._read = 0
        more = True
        while more:
            records = await self._journal.read(AWAITING, after=self._read, limit=BATCH)
            for record in records:
                self._take(record)
                self._read = record.sequence
            more = len(records) == BATCH
        self._read = max(self._read, end)
        now = self._clock()
        over = [one for one in self._waiting.values() if one.until < now]
        for one in over:
            if one.until + await self._standings.stopped(one.since, now) < now:
                self._no_longer_waits(one.operation_id)

    def _take(self, record: Record) -> None:
        try:
            event = event_of(record.subject, record.data)
        except Invalid as error:
            _log.error("approvals.unreadable", sequence=record.sequence, error=str(error))
            return
        where = parse_event(record.subject)
        if isinstance(event, AwaitingApproval) and where is not None:
            self._waiting[event.operation_id] = WaitingOperation(
                principal=where.principal,
                operation_id=event.operation_id,
                sequence=record.sequence,
                since=event.requested_at or record.time,
                until=event.until,
                demands=event.demands,
            )


def _concerns(one: WaitingOperation, who: str, snapshot: PolicySnapshot) -> bool:
    asker = snapshot.principals.get(one.principal)
    return (
        asker is not None
        and snapshot.people.needed(who, asker, KEY) is not None
        and _entitled(one.demands, who, snapshot)
    )


def _entitled(demands: list[DecisionDemand], who: str, snapshot: PolicySnapshot) -> bool:
    """Return true if this person has a role that some step demands."""
    return who in snapshot.people.members(role for demand in demands for step in demand.steps for role in step.roles)


def _listed(one: WaitingOperation, standing: PendingOperation, who: str, judge: Judge) -> PendingApproval | None:
    requested, open_ = standing.life.requested, standing.open(judge.snapshot)
    if who not in open_.later | open_.able or standing.until < judge.now:
        return None
    return PendingApproval(
        operation_id=one.operation_id,
        principal=standing.asker.id,
        operation=standing.decision.operation,
        target=standing.decision.target,
        sequence=one.sequence,
        requested_at=standing.requested_at,
        until=standing.until,
        digest=standing.exact.requested,
        yours=who in open_.able,
        reason=requested.reason,
        acts_for=standing.decision.acts_for,
        approvals=list(standing.approvers),
        waits_for=open_.waits_for,
    )


def _card(standing: PendingOperation, data: bytes, who: str, snapshot: PolicySnapshot) -> ApprovalCard:
    open_ = standing.open(snapshot)
    pending = standing.life.state is State.AWAITING_APPROVAL
    step = open_.step_for(who) if pending else ""
    needed = standing.presence_of(step, who, snapshot) if step else KEY
    return ApprovalCard(
        principal=standing.asker.id,
        requested=data,
        state=str(standing.life.outcome or standing.life.state),
        until=standing.until,
        approvals=list(standing.life.approvals),
        step=step,
        waits_for=open_.waits_for if pending else "",
        remaining=open_.remaining if pending else 0,
        able=sorted(open_.able)[:20] if pending else [],
        proof=needed.proof,
        attested=needed.attested,
    )
