"""The life of an operation: one table (state, event) -> state, and the fold of a history by it.

Every process folds an operation's events here to get its state; nothing else keeps state. A pair outside the table
cannot be appended, since the writer's expected sequence was read from the same history.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from hashlib import sha256
from itertools import dropwhile
from types import MappingProxyType
from typing import Any, TypeGuard, TypeVar, cast, overload

from msgspec import Struct, structs

from writ_contracts import journal
from writ_contracts.errors import Conflict
from writ_contracts.people.approvals import SignedApproval


class State(StrEnum):
    """The state of an operation. `ended` and `unknown` are outcomes; only `unknown` may still be resolved. Of an
    `archived` one only the outcome is left.
    """

    ABSENT = "absent"
    REQUESTED = "requested"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    DISPATCHED = "dispatched"
    STARTED = "started"
    CANCELLING = "cancelling"
    UNKNOWN = "unknown"
    ENDED = "ended"
    ARCHIVED = "archived"


S = State
TABLE: Mapping[tuple[State, str], State] = MappingProxyType(
    {
        (S.ABSENT, "requested"): S.REQUESTED,
        (S.ABSENT, "refused"): S.ENDED,
        (S.REQUESTED, "awaiting_approval"): S.AWAITING_APPROVAL,
        (S.REQUESTED, "dispatched"): S.DISPATCHED,
        (S.REQUESTED, "started"): S.STARTED,  # a control operation, which an executor carries out itself
        (S.REQUESTED, "finished"): S.ENDED,  # previewed, cancelled, denied, expired
        (S.AWAITING_APPROVAL, "preview_taken"): S.AWAITING_APPROVAL,
        (S.AWAITING_APPROVAL, "approval_given"): S.AWAITING_APPROVAL,
        (S.AWAITING_APPROVAL, "approved"): S.APPROVED,
        (S.AWAITING_APPROVAL, "rejected"): S.ENDED,
        (S.AWAITING_APPROVAL, "finished"): S.ENDED,  # expired, cancelled
        (S.APPROVED, "dispatched"): S.DISPATCHED,
        (S.APPROVED, "started"): S.STARTED,  # a control operation
        (S.APPROVED, "finished"): S.ENDED,
        (S.DISPATCHED, "granted"): S.STARTED,
        (S.DISPATCHED, "finished"): S.ENDED,
        (S.REQUESTED, "unknown"): S.UNKNOWN,  # of a restored journal: it may have run after the backup
        (S.AWAITING_APPROVAL, "unknown"): S.UNKNOWN,
        (S.APPROVED, "unknown"): S.UNKNOWN,
        (S.DISPATCHED, "unknown"): S.UNKNOWN,  # nobody took the next attempt, and an earlier one may have run
        (S.STARTED, "finished"): S.ENDED,
        (S.STARTED, "unknown"): S.UNKNOWN,
        (S.STARTED, "dispatched"): S.DISPATCHED,  # again, for what may be run again
        (S.STARTED, "cancel_requested"): S.CANCELLING,
        (S.CANCELLING, "finished"): S.ENDED,
        (S.CANCELLING, "unknown"): S.UNKNOWN,
        (S.UNKNOWN, "resolved"): S.ENDED,
        (S.ENDED, "archived"): S.ARCHIVED,
        (S.UNKNOWN, "archived"): S.ARCHIVED,
        (S.ABSENT, "archived"): S.ARCHIVED,  # what was before it is in an archive
        (S.ARCHIVED, "archived"): S.ARCHIVED,  # carried on into the next generation
    }
)

MOST_ATTEMPTS = 3
"""Upper limit of the starts of an idempotent operation."""
Phase = (
    journal.Requested
    | journal.AwaitingApproval
    | journal.Approved
    | journal.Dispatched
    | journal.Granted
    | journal.Started
)
End = journal.Refused | journal.Rejected | journal.Finished | journal.Unknown | journal.Resolved | journal.Archived
OPEN = frozenset({S.REQUESTED, S.AWAITING_APPROVAL, S.APPROVED, S.DISPATCHED, S.STARTED, S.CANCELLING})


def advance(state: State, event: str) -> State:
    """Return the state after `event`. Raises Conflict where the table has no such pair."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise Conflict(f"an operation that is {state} takes no {event!r}") from None


class Life(Struct, frozen=True, kw_only=True):
    """An operation, folded as far as its latest event. This stage knows no request: the operation is absent, or its
    beginning is in an archive.

    A later stage is a subclass, and has the events that led to it. `state` says where the operation stands now.
    """

    state: State = State.ABSENT
    sequence: int = 0
    first_sequence: int = 0
    time: float = 0.0
    """Time of storage of the latest event, by the server's clock (Unix seconds); 0 where that is unknown."""
    first_time: float = 0.0
    """Time of storage of the first event."""
    end: End | None = None

    @property
    def what(self) -> journal.Requested | journal.Refused | journal.Archived | None:
        """The event with the request, as far as it is still in the journal."""
        return self.archived

    @property
    def archived(self) -> journal.Archived | None:
        """The `archived` event, if its other events went into an archive."""
        return self.end if isinstance(self.end, journal.Archived) else None

    @property
    def open(self) -> bool:
        """Return whether it has not ended."""
        return self.state in OPEN

    @property
    def outcome(self) -> str | None:
        if self.end is None:
            return None
        match self.end:
            case journal.Unknown():
                return "unknown"
            case journal.Rejected():
                return "rejected"
            case _:
                return self.end.outcome


class RefusedLife(Life, frozen=True, kw_only=True):
    """A request that was recorded and refused."""

    refused: journal.Refused

    @property
    def what(self) -> journal.Refused:
        return self.refused


class AcceptedLife(Life, frozen=True, kw_only=True):
    """An accepted operation. Every open one is at this stage or a later one."""

    requested: journal.Requested
    phase: Phase
    """The event that began what it waits for, or its run."""
    preview_digest: str = ""
    """SHA-256 of the first signed preview of a pending operation."""
    approvals: tuple[SignedApproval, ...] = ()
    """Signed approvals, in the order in which policy recorded them."""
    approved: journal.Approved | None = None

    @property
    def what(self) -> journal.Requested:
        return self.requested

    @property
    def period_start(self) -> Phase | End:
        """The event from which the age of its present state counts: its end, else the begin of its phase."""
        return self.end or self.phase


class ControlLife(AcceptedLife, frozen=True, kw_only=True):
    """A control operation that an executor has begun to carry out."""

    started: journal.Started


class DispatchedLife(AcceptedLife, frozen=True, kw_only=True):
    """An operation that was dispatched to a pool."""

    dispatched: journal.Dispatched
    """The latest dispatch."""


class GrantedLife(DispatchedLife, frozen=True, kw_only=True):
    """An operation that an agent was granted."""

    started: journal.Granted
    """The latest grant. While `state` is dispatched it is the one of an earlier attempt."""


class CancellingLife(GrantedLife, frozen=True, kw_only=True):
    """An operation whose agent is requested to stop it."""

    cancel: journal.CancelRequested


L = TypeVar("L", bound=Life)


def is_open(life: Life) -> TypeGuard[AcceptedLife]:
    """Return whether the operation has not ended: then it was accepted."""
    return life.open


@overload
def apply(life: Life, event: journal.Requested, sequence: int, time: float = ...) -> AcceptedLife: ...
@overload
def apply(life: GrantedLife, event: journal.CancelRequested, sequence: int, time: float = ...) -> CancellingLife: ...
@overload
def apply(life: AcceptedLife, event: journal.Dispatched, sequence: int, time: float = ...) -> DispatchedLife: ...
@overload
def apply(life: AcceptedLife, event: journal.Started, sequence: int, time: float = ...) -> ControlLife: ...
@overload
def apply(life: L, event: journal.OperationEvent | journal.Carried, sequence: int, time: float = ...) -> L: ...
def apply(life: Life, event: journal.OperationEvent | journal.Carried, sequence: int, time: float = 0.0) -> Life:
    """Return `life` after `event`, which is at `sequence` of the journal, stored at `time`. Raises Conflict.

    An event of a newer version changes the sequence alone, so the next append still follows it.
    """
    if isinstance(event, journal.Carried):
        return structs.replace(life, sequence=sequence, time=time)
    state = _advance(life, event)
    stage, news = _stage(life, event)
    news |= {
        "state": state,
        "sequence": sequence,
        "first_sequence": life.first_sequence or sequence,
        "time": time,
        "first_time": life.first_time or time,
    }
    if isinstance(life, stage):
        return structs.replace(life, **news)
    known = {name: getattr(life, name) for name in life.__struct_fields__ if name in stage.__struct_fields__}
    return stage(**{**known, **news})


def _advance(life: Life, event: journal.OperationEvent) -> State:
    """Return the state after the event. Raises Conflict."""
    at_once = isinstance(life, DispatchedLife) and life.dispatched.id == life.requested.id
    after = advances(life.state, event, at_once=at_once)
    return advance(life.state, _tag(event)) if after is None else after


def _tag(event: journal.OperationEvent) -> str:
    return str(event.__struct_config__.tag)


def _stage(life: Life, event: journal.OperationEvent) -> tuple[type[Life], dict[str, Any]]:
    """Return the stage that the event leads to at least, and the fields that it sets."""
    match event:
        case journal.Requested():
            return _requested(event)
        case journal.Refused():
            return RefusedLife, {"refused": event, "end": event}
        case journal.AwaitingApproval() | journal.PreviewTaken() | journal.ApprovalGiven() | journal.Approved():
            return AcceptedLife, _approval(cast(AcceptedLife, life), event)  # the table lets none precede the request
        case journal.Dispatched():
            return DispatchedLife, {"dispatched": event, "phase": event}
        case journal.Granted():
            return GrantedLife, {"started": event, "phase": event}
        case journal.Started():
            return ControlLife, {"started": event, "phase": event}
        case journal.CancelRequested():  # nobody but an agent is requested to stop
            return (CancellingLife, {"cancel": event}) if isinstance(life, GrantedLife) else (Life, {})
        case journal.Rejected() | journal.Finished() | journal.Unknown() | journal.Resolved() | journal.Archived():
            return Life, {"end": event}


def _requested(event: journal.Requested) -> tuple[type[Life], dict[str, Any]]:
    dispatched = event.first_dispatch
    if dispatched is None:
        return AcceptedLife, {"requested": event, "phase": event}
    return DispatchedLife, {"requested": event, "dispatched": dispatched, "phase": dispatched}


def _approval(
    accepted: AcceptedLife,
    event: journal.AwaitingApproval | journal.PreviewTaken | journal.ApprovalGiven | journal.Approved,
) -> dict[str, Any]:
    match event:
        case journal.AwaitingApproval():
            return {"phase": event}
        case journal.PreviewTaken():
            return {"preview_digest": accepted.preview_digest or sha256(bytes(event.preview.payload)).hexdigest()}
        case journal.ApprovalGiven():
            return {"approvals": (*accepted.approvals, event.approval)}
        case journal.Approved():
            return {"approvals": tuple(event.approvals), "approved": event, "phase": event}


def fold(events: Iterable[tuple[int, journal.OperationEvent | journal.Carried]]) -> Life:
    """Return the life of (sequence, event) pairs, in order. Raises Conflict on an impossible history.

    Where its beginning went into an archive, the remaining events add nothing to `archived`.
    """
    history = list(events)
    if history and advances(State.ABSENT, history[0][1]) is None:
        history = list(dropwhile(lambda pair: not isinstance(pair[1], journal.Archived), history)) or history
    life = Life()
    for sequence, event in history:
        life = apply(life, event, sequence)
    return life


def advances(state: State, event: journal.OperationEvent | journal.Carried, *, at_once: bool = False) -> State | None:
    """Return the state after the event, if the table has the pair.

    `at_once`: the latest dispatch is the one of the request. In older journals the first attempt may have an event of
    its own besides: until a grant this event counts in its place.
    """
    if isinstance(event, journal.Carried):
        return state
    if at_once and state is State.DISPATCHED and isinstance(event, journal.Dispatched) and event.attempt == 1:
        return state
    after = TABLE.get((state, _tag(event)))
    if after is not None and isinstance(event, journal.Requested) and event.dispatched is not None:
        return TABLE[after, "dispatched"]
    return after
