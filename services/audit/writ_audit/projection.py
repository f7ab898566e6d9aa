"""Compute the change of the index by each event of the journal. Pure: a record goes in, rows come out.

Every record gives an event row, even an unreadable one, so that the index never stops at a record and never skips one.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from writ_contracts import journal
from writ_contracts.errors import Invalid
from writ_contracts.history.search_digests import LONGEST_TERM, MOST_DIGESTS, search_texts, value_text
from writ_contracts.life import TABLE, State
from writ_contracts.signing import Signed
from writ_contracts.subjects import parse_event
from writ_contracts.wire import event_of, kind_of

UNREADABLE = "unreadable"
SECURITY = "security"
DIGEST, DIGEST_KEY, APPROVER = "digest", "digest_key", "approver"
"""Kinds of terms: a search digest, the executors' key under which an operation's digests are, and a person who approved
or rejected the operation.
"""
MOST_SHOWN, MOST_TERMS = 500, 100
"""The most characters of a text, and terms of an operation: enough for a search. A trace has everything."""

STATE_AFTER: dict[str, State] = {event: after for (_, event), after in TABLE.items()}
"""The state after each kind of event. It does not depend on the state before, since the writer has checked the order.
"""


class EventRow(Struct, frozen=True, kw_only=True):
    """A record of the journal. "" stands for an absent field."""

    sequence: int
    subject: str
    kind: str
    at: float
    operation_id: str = ""
    correlation_id: str = ""
    principal: str = ""


class OperationRow(Struct, frozen=True, kw_only=True):
    """An operation as it began."""

    operation_id: str
    first_sequence: int
    principal: str
    acts_for: str
    operation: str
    target: str
    requested_at: float
    correlation_id: str
    emergency: str = ""
    """The emergency that the first decision names."""
    client: str = ""
    session: str = ""
    reason: str = ""
    rules: str = ""
    parameters: str = ""
    dry_run: bool = False


class OutcomeRow(Struct, frozen=True, kw_only=True):
    """The state of an operation after an event. An `outcome` of None means that it has not ended."""

    operation_id: str
    sequence: int
    state: str
    outcome: str | None
    code: str
    at: float
    emergency: str = ""
    """The emergency that the decision of this event names, if any."""
    message: str = ""


class TermRow(Struct, frozen=True):
    """A value by which an operation can be searched: of `rule`, of a recorded parameter, `p:<name>`, the `digest` of a
    hidden one, or an `approver`.
    """

    kind: str
    value: str
    first_sequence: int


class _DecisionNames(Struct, frozen=True):
    """The fields of a decision that the index needs. Decoding whole decisions would take most of the time of
    an index.
    """

    emergency: str = ""
    session: str = ""


class RecordChange(Struct, frozen=True, kw_only=True):
    """The rows that one record adds or changes. `approver`: the person whose verdict it records; "" for none."""

    event: EventRow
    opened: OperationRow | None = None
    step: OutcomeRow | None = None
    terms: tuple[TermRow, ...] = ()
    approver: str = ""


def project(sequence: int, subject: str, data: bytes, stored_at: float) -> RecordChange:
    """Return the change by one record. `stored_at` (Unix seconds) replaces an unreadable time of the record."""
    try:
        event = event_of(subject, data)
    except Invalid:
        return _unreadable(sequence, subject, stored_at)
    row = _row(sequence, subject, event)
    if not isinstance(event, journal.OperationEvent) or not row.principal:
        return RecordChange(event=row)
    names = _named(event)
    opened, step = _opened(row, event, names), _step(row, event, names)
    terms = tuple(_terms(row, event))
    return RecordChange(event=row, opened=opened, step=step, terms=terms, approver=_approver(event))


def _approver(event: journal.OperationEvent) -> str:
    return event.approver if isinstance(event, journal.ApprovalGiven | journal.Approved | journal.Rejected) else ""


def _unreadable(sequence: int, subject: str, stored_at: float) -> RecordChange:
    where = parse_event(subject)
    row = EventRow(
        sequence=sequence,
        subject=subject,
        kind=UNREADABLE,
        at=stored_at,
        operation_id=where.operation_id if where else "",
        principal=where.principal if where else "",
    )
    return RecordChange(event=row)


def _row(sequence: int, subject: str, event: Any) -> EventRow:
    where = parse_event(subject)
    return EventRow(
        sequence=sequence,
        subject=subject,
        kind=kind_of(event),
        at=event.at,
        operation_id=where.operation_id if where else getattr(event, "operation_id", None) or "",
        correlation_id=event.correlation_id,
        principal=where.principal if where else getattr(event, "principal", None) or "",
    )


def _opened(row: EventRow, event: journal.OperationEvent, names: _DecisionNames) -> OperationRow | None:
    if not isinstance(event, journal.Requested | journal.Refused | journal.Archived):
        return None
    return OperationRow(
        operation_id=row.operation_id,
        first_sequence=row.sequence,
        principal=row.principal,
        acts_for=event.acts_for or "",
        operation=event.operation,
        target=event.target,
        requested_at=event.requested_at if isinstance(event, journal.Archived) else event.at,
        correlation_id=event.correlation_id,
        emergency=names.emergency,
        reason=getattr(event, "reason", "")[:MOST_SHOWN],
        rules=", ".join(_rules(event))[:MOST_SHOWN],
        parameters=_shown(_parameters(event)),
        dry_run=event.dry_run,
        **_client(event, names),
    )


def _client(event: journal.Requested | journal.Refused | journal.Archived, names: _DecisionNames) -> dict[str, str]:
    """Return the program that requested, and the session: that of the principal's key if it is a session's, else the
    one that the program names.
    """
    client = None if isinstance(event, journal.Archived) else event.client
    session = names.session or (client.session if client is not None else "")
    return {"client": client.name if client is not None else "", "session": session}


def _rules(event: journal.Requested | journal.Refused | journal.Archived) -> list[str]:
    verdict = None if isinstance(event, journal.Archived) else event.verdict
    return verdict.rules if verdict else []


def _parameters(event: journal.Requested | journal.Refused | journal.Archived) -> dict[str, Any]:
    match event:
        case journal.Requested():
            return {**event.effective, **event.parameters}
        case journal.Refused():
            return event.parameters
        case journal.Archived():
            return {}


def _shown(parameters: dict[str, Any]) -> str:
    named = (f"{name}={value_text(value)}" for name, value in parameters.items() if name != "timeout")
    return " ".join(named)[:MOST_SHOWN]


def parameter_term(name: str, text: str) -> tuple[str, str]:
    """Return kind and value of the term of a parameter that is on record."""
    return f"p:{name}", text[:LONGEST_TERM]


def _terms(row: EventRow, event: journal.OperationEvent) -> Iterator[TermRow]:
    """Yield the terms of a request, each once; for a list, one term for each item."""
    if not isinstance(event, journal.Requested | journal.Refused):
        return
    terms = dict.fromkeys([("rule", rule) for rule in _rules(event)])
    for name, value in _parameters(event).items():
        terms |= dict.fromkeys(parameter_term(name, text) for text in search_texts(value))
    digests = event.search_digests[:MOST_DIGESTS]
    if digests and isinstance(event, journal.Requested):
        yield TermRow(DIGEST_KEY, event.parameter_key, row.sequence)
    for kind, value in [*list(terms)[:MOST_TERMS], *((DIGEST, digest) for digest in dict.fromkeys(digests))]:
        yield TermRow(kind, value, row.sequence)


def _step(row: EventRow, event: journal.OperationEvent, names: _DecisionNames) -> OutcomeRow:
    outcome, code = _end(event)
    return OutcomeRow(
        operation_id=row.operation_id,
        sequence=row.sequence,
        state=STATE_AFTER[row.kind],
        outcome=outcome,
        code=code,
        at=event.at,
        emergency=names.emergency,
        message=getattr(event, "message", "")[:MOST_SHOWN],
    )


def _named(event: journal.OperationEvent) -> _DecisionNames:
    """Return the fields of the event's decision that searches need. The decision in the journal stays authoritative."""
    signed = getattr(event, "decision", None)
    if not isinstance(signed, Signed):
        return _DecisionNames()
    try:
        return msgspec.json.decode(bytes(signed.payload), type=_DecisionNames)
    except msgspec.DecodeError:
        return _DecisionNames()


def _end(event: journal.OperationEvent) -> tuple[str | None, str]:
    match event:
        case journal.Unknown():
            return "unknown", event.code
        case journal.Rejected():
            return "rejected", "rejected"
        case journal.Refused() | journal.Finished() | journal.Resolved() | journal.Archived():
            return event.outcome, event.code
        case _:
            return None, ""
