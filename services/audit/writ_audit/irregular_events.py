"""Find events of an operation that are impossible after the earlier ones, whichever key wrote them.

An honest executor writes none of them: NATS lets one writer win, and policy alone writes `granted`. The functions are
pure.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from writ_contracts import journal
from writ_contracts.agents import ProbeFinding, Receipt
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.history.archives import ARCHIVE
from writ_contracts.history.recorded_receipts import finding_problem, receipt_problem
from writ_contracts.history.records import Record
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.life import TABLE, State, advances
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.subjects import EventSubject, control_event, parse_event
from writ_contracts.wire import decode_event, event_of, kind_of
from writ_trust.approvals import read_approval
from writ_trust.control_events import stored_late
from writ_trust.statements import digest, read

REMEMBERED = 4_096
OF_CONTROL = "writ.journal.control."
ARCHIVES = control_event(ARCHIVE)
FIRST = frozenset(kind for state, kind in TABLE if state is State.ABSENT)
"""Kinds of events that may be the first of an operation in the journal."""
Ended = journal.Finished | journal.Unknown | journal.Resolved


class _DecidedEffect(Struct, frozen=True):
    """The one field of a decision that counts here. All of it, with its trace, takes five times as long to decode."""

    effect: str


class IrregularEvent(Struct, frozen=True, kw_only=True):
    """An impossible event, and the reason."""

    sequence: int
    operation_id: str
    principal: str
    what: str


class GrantedStart(Struct, frozen=True, kw_only=True):
    """A grant in the journal: its claimant, and the digests by which a receipt names it."""

    grant: str
    claim: str
    key: str
    instance: str


class OperationHistory(Struct, kw_only=True):
    """The part of an operation's earlier events on which later ones depend."""

    state: State = State.ABSENT
    at_once: bool = False
    """The latest dispatch is the one of the request."""
    idempotent: bool = False
    control: bool = False
    demanded: bool = False
    approved: bool = False
    preview: str | None = None
    """Digest of the first preview on record, which approvals name."""
    starts: list[GrantedStart] = []


class OperationHistories:
    """The histories of operations with recent events, by operation id."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, OperationHistory] = OrderedDict()

    def unknown(self, records: Iterable[Record]) -> set[tuple[str, str]]:
        """Yield (principal, operation id) for operations whose beginning is neither known nor in these records."""
        begun, missing = set[str](), set[tuple[str, str]]()
        for record in records:
            where = parse_event(record.subject)
            if where is None or where.operation_id in self._known or where.operation_id in begun:
                continue
            if where.event in FIRST:
                begun.add(where.operation_id)
            else:
                missing.add((where.principal, where.operation_id))
        return missing

    def learn(self, operation_id: str, records: Sequence[Record]) -> None:
        """Add earlier events of an operation to its history, without examining them."""
        history = OperationHistory()
        for record in records:
            event = _event(record)
            if event is not None:
                _advance(history, event)
        self._remember(operation_id, history)

    def examine(self, record: Record) -> IrregularEvent | None:
        """Return the finding on the next record, or None."""
        if record.subject == ARCHIVES:
            self._forget_ended()
        if record.subject.startswith(OF_CONTROL):
            return _late(record)
        where, event = parse_event(record.subject), _event(record)
        if where is None:
            return None
        if event is None:
            return _unreadable(record, where)
        history = self._known.get(where.operation_id) or OperationHistory()
        what = _wrong(history, event)
        _advance(history, event)
        self._remember(where.operation_id, history)
        if not what:
            return None
        about = {"operation_id": where.operation_id, "principal": where.principal}
        return IrregularEvent(sequence=record.sequence, what=f"{where.event} {what}", **about)

    def _forget_ended(self) -> None:
        """Forget operations that have ended: the idempotency key of a refused request may be used again. Others may go
        on in records after the archive that `unknown` has already seen, first of all the operation that archives.
        """
        ended = [operation_id for operation_id, history in self._known.items() if history.state is State.ENDED]
        for operation_id in ended:
            del self._known[operation_id]

    def _remember(self, operation_id: str, history: OperationHistory) -> None:
        self._known[operation_id] = history
        self._known.move_to_end(operation_id)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _late(record: Record) -> IrregularEvent | None:
    """Return a finding if a control event was not stored soon after it was decided."""
    try:
        event = decode_event(record.data)
    except Invalid:
        return None
    if not isinstance(event, journal.ControlEvent) or not stored_late(event, record):
        return None
    what = f"control {event.kind} was not stored when it was decided: it does not count"
    return IrregularEvent(
        sequence=record.sequence, operation_id=event.operation_id, principal=event.principal, what=what
    )


def _event(record: Record) -> journal.OperationEvent | None:
    try:
        event = event_of(record.subject, record.data)
    except Invalid:
        return None
    return event if isinstance(event, journal.OperationEvent) else None


def _unreadable(record: Record, where: EventSubject) -> IrregularEvent | None:
    """Return a finding if the body names another kind or operation than the subject. The index reports unreadable
    bodies.
    """
    try:
        kind = kind_of(decode_event(record.data))
    except Invalid:
        return None
    what = f"{where.event} has a body of kind {kind}, or of another operation"
    return IrregularEvent(
        sequence=record.sequence, what=what, operation_id=where.operation_id, principal=where.principal
    )


def _advance(history: OperationHistory, event: journal.OperationEvent) -> None:
    history.state = advances(history.state, event, at_once=history.at_once) or history.state
    match event:
        case journal.Requested():
            history.at_once = event.dispatched is not None
            history.idempotent, history.control = event.idempotent, event.target == WRIT_TARGET
            history.demanded = _demands_approval(event)
        case journal.Dispatched():
            history.at_once = False
        case journal.PreviewTaken():
            history.preview = history.preview or digest(event.preview)
        case journal.Approved():
            history.approved = True
        case journal.Granted():
            claimed = {"key": event.claim.key, "instance": event.instance}
            history.starts = [
                *history.starts,
                GrantedStart(grant=digest(event.grant), claim=digest(event.claim), **claimed),
            ]
        case _:
            return


def _demands_approval(event: journal.Requested) -> bool:
    """Return true if policy's first decision demands approvals. A decision without an effect does not: it is
    reported for its signature.
    """
    try:
        return read(event.decision, _DecidedEffect).effect != "allow"
    except Untrusted:
        return False


def _wrong(history: OperationHistory, event: journal.OperationEvent) -> str:
    if isinstance(event, journal.Archived) or history.state is State.ARCHIVED:
        return ""  # events in an archive are checked there
    if advances(history.state, event, at_once=history.at_once) is None:
        return f"of an operation that is {history.state}"
    match event:
        case journal.Granted() | journal.Dispatched() if history.starts and not history.idempotent:
            return "a second time, although the operation must not run twice"
        case journal.Granted() | journal.Started() if history.demanded and not history.approved:
            return "without the approvals that its decision demands"
        case journal.Started() if not history.control:
            return "of an operation that agents carry out, without a grant"
        case journal.ApprovalGiven() | journal.Rejected():
            return _wrong_preview(history, [event.approval])
        case journal.Approved():
            return _wrong_preview(history, event.approvals)
        case journal.Finished() | journal.Unknown() | journal.Resolved():
            return _wrong_receipt(history, event) or _wrong_finding(event)
        case _:
            return ""


def _wrong_preview(history: OperationHistory, verdicts: Sequence[SignedApproval]) -> str:
    """Return the fault of a person's verdict on another preview than the agent's on record, or "". Policy records
    none: either it, or who replaced the preview, is not honest. Nobody has to see what they reject.
    """
    for signed in verdicts:
        try:
            approval = read_approval(signed)
        except Untrusted:
            return "by a verdict that cannot be read"
        unseen = approval.verdict == "reject" and approval.preview is None
        if approval.preview != history.preview and not unseen:
            return f"by {approval.approver}, who signed another preview than the agent's on record"
    return ""


def _wrong_receipt(history: OperationHistory, event: Ended) -> str:
    """Return the fault of a receipt, or "". A receipt has to name a recorded grant, if any, and to come from that
    grant's claimant.
    """
    if event.receipt is None:
        return ""
    try:
        receipt = read(event.receipt, Receipt)
    except Untrusted:
        return "by a receipt that cannot be read"
    named = [one for one in history.starts if one.grant == receipt.grant_digest or one.claim == receipt.claim_digest]
    if not named and receipt.grant_digest:
        return "by a receipt for a grant that is not on record"
    by = (event.receipt.key, receipt.instance)
    if named and by not in [(one.key, one.instance) for one in named]:
        return "by a receipt from another agent than claimed it"
    problem = receipt_problem(event, receipt)
    return f"by a receipt that {problem}" if problem else ""


def _wrong_finding(event: Ended) -> str:
    """Return the fault of a probe's finding, or "". Executors of an earlier release recorded none."""
    if isinstance(event, journal.Unknown) or event.probe is None:
        return ""
    try:
        problem = finding_problem(event, read(event.probe, ProbeFinding))
    except Untrusted:
        return "by a finding that cannot be read"
    return f"by a finding that {problem}" if problem else ""
