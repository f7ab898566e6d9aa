"""Control events, which count only with policy's own decision on exactly their parameters. Pure."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from msgspec import Struct

from writ_contracts.catalogue.control import (
    EmergencyConfirm,
    EmergencyDeclare,
    EmergencyReview,
    JournalArchive,
    PrincipalManage,
    StopLift,
)
from writ_contracts.catalogue.sessions import SESSION_OPEN, SessionOpen
from writ_contracts.catalogue.windows import WindowRequest
from writ_contracts.decisions import Decision
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.history.copied_control_events import CARRIED_FROM, origin
from writ_contracts.history.records import Record
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import decode_event
from writ_trust.digests import keyed_digest, same
from writ_trust.sessions import is_session
from writ_trust.statements import open_signed, read

STORED_WITHIN = 600.0
"""Seconds between a decision and the storage of its control event: an executor that restarted carries it out again."""
ANY_TIME = ("stop_set", "window_end", "session_end", "journal_archive", "policy_publish", "policy_rollback")
"""Kinds that count whenever they are stored. The first three only narrow; archives follow on each other; and versions
of the policy have a bound of their own.
"""

DECIDED: Mapping[str, type[Struct]] = MappingProxyType(
    {
        "stop_lift": StopLift,
        "emergency_declare": EmergencyDeclare,
        "emergency_confirm": EmergencyConfirm,
        "emergency_review": EmergencyReview,
        "journal_archive": JournalArchive,
        "principal_manage": PrincipalManage,
        "window_request": WindowRequest,
        SESSION_OPEN: SessionOpen,
    }
)
"""Kinds that count only if policy allowed exactly these parameters."""


def is_decided(event: ControlEvent, keys: Collection[str], installation: str) -> bool:
    """Return whether policy, by one of these keys, allowed exactly this event on its author's signature."""
    decision = allowed_by_policy(event, event.kind, keys, installation)
    if decision is None or not covers_parameters(decision, event, DECIDED[event.kind]):
        return False
    return event.kind != SESSION_OPEN or is_session(event)


def stored_late(event: ControlEvent, record: Record) -> bool:
    """Return whether the event in this record was stored too late. The times of copies are those of their archive,
    which names what it copied.
    """
    return CARRIED_FROM not in record.headers and is_late(event, record.time)


def is_void(record: Record) -> bool:
    """Return whether the record is a control event that was stored too late; an unreadable one is not."""
    try:
        event = decode_event(record.data)
    except Invalid:
        return False
    return isinstance(event, ControlEvent) and stored_late(event, record)


def first_stored(records: Iterable[Record]) -> dict[int, Record]:
    """Return the control events by their first sequence, in that order; of each the latest copy.

    What was stored too late is left out, with its copies: these have lost the time of its storage, so that an archive
    that named it would make it count. Raises Invalid.
    """
    latest, void = dict[int, Record](), set[int]()
    for record in records:
        latest[origin(record.headers, record.sequence)] = record
        if is_void(record):
            void.add(record.sequence)
    return {at: record for at, record in sorted(latest.items()) if at not in void}


def is_late(event: ControlEvent, at: float) -> bool:
    """Return whether `at` is long after the event's decision, or before it. A stolen executors' key could hold a
    decision back until it suits.
    """
    if event.kind in ANY_TIME or event.decision is None:
        return False
    try:
        decided_at = read(event.decision, Decision).at
    except Untrusted:
        return False  # no decision at all: it does not count anyway
    return abs(at - decided_at) > STORED_WITHIN


def allowed_by_policy(event: ControlEvent, operation: str, keys: Collection[str], installation: str) -> Decision | None:
    """Return the decision, signed by one of policy's keys, which allows the event's operation on its author's
    signature, in this installation (or in none: written before installations had ids).
    """
    if event.decision is None:
        return None
    try:
        decision = open_signed(event.decision, Decision, keys, installation, unbound=True)
    except Untrusted:
        return None
    signed_for = (
        decision.operation,
        decision.operation_id,
        decision.principal,
        decision.effect,
        decision.authenticated,
    )
    allowed = signed_for == (operation, event.operation_id, event.principal, "allow", "signature")
    return decision if allowed and not decision.dry_run else None


def covers_parameters(decision: Decision, event: ControlEvent, kind: type[Struct]) -> bool:
    """Return whether the decision is on the event's parameters, which are those of `kind`, by their digest."""
    parameters = {name: event.body[name] for name in kind.__struct_fields__ if name in event.body}
    try:
        return same(keyed_digest(event.parameters_key, parameters), decision.parameters_digest)
    except ValueError:  # the key is any string
        return False
