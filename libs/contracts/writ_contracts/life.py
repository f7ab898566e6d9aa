"""The life of an operation: one table (state, event) -> state, and the fold of a history by it.

Every process that wants to know how an operation stands folds its events here; nothing else keeps state. A pair that
the table does not have cannot be appended, since the writer's expected sequence was read from the same history.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct, structs

from writ_contracts import journal
from writ_contracts.errors import Conflict


class State(StrEnum):
    """Where an operation stands. `ended` and `unknown` are outcomes; only `unknown` may still be resolved."""

    ABSENT = "absent"
    REQUESTED = "requested"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    DISPATCHED = "dispatched"
    STARTED = "started"
    CANCELLING = "cancelling"
    UNKNOWN = "unknown"
    ENDED = "ended"


S = State
TABLE: Mapping[tuple[State, str], State] = MappingProxyType(
    {
        (S.ABSENT, "requested"): S.REQUESTED,
        (S.ABSENT, "refused"): S.ENDED,
        (S.REQUESTED, "awaiting_approval"): S.AWAITING_APPROVAL,
        (S.REQUESTED, "dispatched"): S.DISPATCHED,
        (S.REQUESTED, "started"): S.STARTED,  # a control operation, which an executor carries out itself
        (S.REQUESTED, "finished"): S.ENDED,  # previewed, cancelled, denied, expired
        (S.AWAITING_APPROVAL, "approved"): S.APPROVED,
        (S.AWAITING_APPROVAL, "finished"): S.ENDED,
        (S.APPROVED, "dispatched"): S.DISPATCHED,
        (S.APPROVED, "finished"): S.ENDED,
        (S.DISPATCHED, "started"): S.STARTED,
        (S.DISPATCHED, "finished"): S.ENDED,
        (S.DISPATCHED, "unknown"): S.UNKNOWN,  # nobody took the next attempt, and an earlier one may have run
        (S.STARTED, "finished"): S.ENDED,
        (S.STARTED, "unknown"): S.UNKNOWN,
        (S.STARTED, "dispatched"): S.DISPATCHED,  # again, for what may be run again
        (S.STARTED, "cancel_requested"): S.CANCELLING,
        (S.CANCELLING, "finished"): S.ENDED,
        (S.CANCELLING, "unknown"): S.UNKNOWN,
        (S.UNKNOWN, "resolved"): S.ENDED,
    }
)

OPEN = frozenset({S.REQUESTED, S.AWAITING_APPROVAL, S.APPROVED, S.DISPATCHED, S.STARTED, S.CANCELLING})


def advance(state: State, event: str) -> State:
    """The state after `event`. Raises Conflict where the table has no such pair."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise Conflict(f"an operation that is {state} takes no {event!r}") from None


class Life(Struct, frozen=True, kw_only=True):
    """One operation, folded: the events that matter for what may come next, and the last sequence seen."""

    state: State = State.ABSENT
    sequence: int = 0
    first_sequence: int = 0
    requested: journal.Requested | None = None
    refused: journal.Refused | None = None
    dispatched: journal.Dispatched | None = None
    started: journal.Started | None = None
    cancel: journal.CancelRequested | None = None
    end: journal.Refused | journal.Finished | journal.Unknown | journal.Resolved | None = None

    @property
    def open(self) -> bool:
        """It has not ended."""
        return self.state in OPEN

    @property
    def outcome(self) -> str | None:
        """Its outcome, if it has one."""
        if self.end is None:
            return None
        return "unknown" if isinstance(self.end, journal.Unknown) else self.end.outcome


def apply(life: Life, event: journal.OperationEvent, sequence: int) -> Life:
    """`life` after `event`, which is at `sequence` of the journal. Raises Conflict."""
    state = advance(life.state, _tag(event))
    return structs.replace(
        life, state=state, sequence=sequence, first_sequence=life.first_sequence or sequence, **_kept(event)
    )


def _tag(event: journal.OperationEvent) -> str:
    return str(event.__struct_config__.tag)


def _kept(event: journal.OperationEvent) -> dict[str, journal.OperationEvent]:
    match event:
        case journal.Refused():
            return {"refused": event, "end": event}
        case journal.Finished() | journal.Unknown() | journal.Resolved():
            return {"end": event}
        case journal.Requested() | journal.Dispatched() | journal.Started():
            return {_tag(event): event}
        case journal.CancelRequested():
            return {"cancel": event}
        case journal.AwaitingApproval() | journal.Approved():
            return {}


def fold(events: Iterable[tuple[int, journal.OperationEvent]]) -> Life:
    """The life that (sequence, event) pairs, in order, tell. Raises Conflict on a history that cannot be."""
    life = Life()
    for sequence, event in events:
        life = apply(life, event, sequence)
    return life
