"""What is overdue in an operation's life: a pure function of that life and of ages, asked each second.

No instant that another host wrote is compared with a clock here. A deadline is a duration; how much of it has passed is
counted by this replica, from when it first saw the event (see sightings.py).
"""

from enum import StrEnum

from msgspec import Struct

from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import Dispatched, Granted, Requested, Started
from writ_contracts.life import Life, State

RESOLVE_SECONDS = 900.0
STUBBORN_LEASES = 5
"""So many leases past its deadline an operation that was to be stopped is lost, even if its agent still names it."""
LONGEST_SHORT = 600.0
"""Seconds. A new replica grants a period up to this length anew; of a longer one it grants what is left of it."""


class Due(StrEnum):
    """What somebody has to do now."""

    NOTHING = "nothing"
    BEGIN = "begin"
    """Its replica died after `requested`: take the first step again."""
    ADVANCE = "advance"
    """Its target may have become free, or a place under its limits."""
    EXPIRE = "expire"
    CONTROL = "control"
    """A control operation whose replica died."""
    CANCEL = "cancel"
    PROBE = "probe"
    MARK_UNKNOWN = "mark_unknown"


class Patience(Struct, frozen=True, kw_only=True):
    """How long we wait, in seconds: for the replica that began it, and for an agent that fell silent."""

    takeover: float
    lease: float


class Age(Struct, frozen=True, kw_only=True):
    """How long ago the event was that an operation waits by now, in seconds.

    `seen`: since this replica first saw it, on the boot clock. `before`: how old it was then, by the journal's clock.
    """

    seen: float
    before: float = 0.0

    def past(self, period: float) -> float:
        """Return by how much the period is over; below zero, what is left of it."""
        return self.seen - period + (self.before if period > LONGEST_SHORT else 0.0)


def due(life: Life, age: Age, silence: float, patience: Patience) -> Due:
    """`age`: of `life`'s phase; `silence`: seconds since an agent last said that it runs this."""
    match life.state:
        case State.REQUESTED:
            return _requested(life, age, patience)
        case State.AWAITING_APPROVAL:
            return Due.EXPIRE if age.past(period_of(life)) > 0 else Due.NOTHING
        case State.APPROVED:
            return Due.EXPIRE if age.past(period_of(life)) > 0 else Due.ADVANCE
        case State.DISPATCHED:
            return Due.EXPIRE if age.past(period_of(life)) > 0 else Due.NOTHING
        case State.STARTED | State.CANCELLING:
            return _running(life, age, silence, patience)
        case State.UNKNOWN:
            return Due.PROBE if age.past(RESOLVE_SECONDS) < 0 else Due.NOTHING
        case State.ABSENT | State.ENDED | State.ARCHIVED:
            return Due.NOTHING


def phase_of(life: Life) -> Requested | Dispatched | Granted | Started | None:
    """Return the event that the operation's present deadline runs from."""
    match life.state:
        case State.DISPATCHED:
            return life.dispatched
        case State.STARTED | State.CANCELLING:
            return life.started
        case _:
            return life.requested


def period_of(life: Life) -> float:
    """Return how many seconds the operation has in its present phase.

    Both instants in an event are readings of one clock by one writer, so their difference is a duration whatever that
    clock shows.
    """
    match phase_of(life):
        case Requested(start_by=until, at=since) | Dispatched(start_by=until, at=since):
            return max(until - since, 0.0)
        case Granted(deadline=until, at=since) | Started(deadline=until, at=since):
            return max(until - since, 0.0)
        case None:
            return 0.0


def _requested(life: Life, age: Age, patience: Patience) -> Due:
    requested = life.requested
    if requested is None or age.seen < patience.takeover:
        return Due.NOTHING
    if age.past(period_of(life)) > 0:
        return Due.EXPIRE
    if requested.dry_run or requested.target == WRIT_TARGET or (requested.risk == "read" and not requested.limits):
        return Due.BEGIN
    return Due.ADVANCE


def _running(life: Life, age: Age, silence: float, patience: Patience) -> Due:
    if life.started is None:
        return Due.NOTHING
    if life.requested and life.requested.target == WRIT_TARGET:
        return Due.CONTROL if age.seen > patience.lease else Due.NOTHING
    silent = silence > patience.lease
    overtime = age.past(period_of(life))
    if silent and overtime > patience.lease:
        return Due.MARK_UNKNOWN
    if life.state is State.CANCELLING:
        return Due.MARK_UNKNOWN if overtime > STUBBORN_LEASES * patience.lease else Due.CANCEL
    if silent and age.seen > patience.lease:  # a replica may not have heard of it yet
        return Due.PROBE
    return Due.NOTHING
