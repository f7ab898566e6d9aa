"""Overdue steps of an operation: a pure function of its life and of ages, evaluated each second.

No instant of another host is compared with a clock here. A deadline is a duration; this replica counts its passed part
from its first sighting of the event (see sightings.py).
"""

from enum import StrEnum

from msgspec import Struct

from writ_contracts.agents import LONGEST_QUEUE
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import Approved, AwaitingApproval, Dispatched, Granted, Requested, Started
from writ_contracts.life import AcceptedLife, State
from writ_executor.journal.lines import needs_approval
from writ_executor.journal.resolvable import is_unconfirmed_cancel

RESOLVE_SECONDS = 900.0
STUBBORN_LEASES = 5
"""A cancelled operation counts as lost this many leases after its deadline and the longest wait for its turn, even if
its agent still names it.
"""
LONGEST_SHORT = 600.0
"""Seconds. A new replica grants a period up to this length in full, and only the rest of a longer one."""


class DueStep(StrEnum):
    """The step due now."""

    NOTHING = "nothing"
    BEGIN = "begin"
    """Its replica died after `requested`: repeat the first step."""
    ADVANCE = "advance"
    """Its target, or a place under its limits, may have become free."""
    EXPIRE = "expire"
    CONTROL = "control"
    """A control operation whose replica died."""
    CANCEL = "cancel"
    PROBE = "probe"
    MARK_UNKNOWN = "mark_unknown"
    RESOLVE_CANCEL = "resolve_cancel"
    """The outcome of an unconfirmed cancel, once its operation has ended."""


class WaitingTimes(Struct, frozen=True, kw_only=True):
    """Waiting times in seconds: for the replica at work on an operation, and for a silent agent."""

    takeover: float
    lease: float


class WaitingAge(Struct, frozen=True, kw_only=True):
    """The age in seconds of the event since which an operation waits.

    `observed`: since this replica first saw it, on the boot clock. `before`: its age at the first sighting, by the
    journal's clock.
    """

    observed: float
    before: float = 0.0

    def past(self, period: float) -> float:
        """Return the seconds since the end of the period; negative while some of it is left."""
        return self.observed - period + (self.before if period > LONGEST_SHORT else 0.0)


def due(life: AcceptedLife, age: WaitingAge, silence: float, patience: WaitingTimes) -> DueStep:
    """Return the due step. `age`: of the life's phase. `silence`: seconds since an agent last named the operation."""
    match life.state:
        case State.REQUESTED:
            return _requested(life, age, patience)
        case State.AWAITING_APPROVAL:
            # On the server's clock even where the time is short: people saw this instant.
            return DueStep.EXPIRE if age.observed + age.before > period_of(life) else DueStep.NOTHING
        case State.APPROVED:
            return _requested(life, age, patience)
        case State.DISPATCHED:
            return DueStep.EXPIRE if age.past(period_of(life)) > 0 else DueStep.NOTHING
        case State.STARTED | State.CANCELLING:
            return _running(life, age, silence, patience)
        case State.UNKNOWN if is_unconfirmed_cancel(life):
            return DueStep.RESOLVE_CANCEL
        case State.UNKNOWN:
            return DueStep.PROBE if age.past(RESOLVE_SECONDS) < 0 else DueStep.NOTHING
        case State.ABSENT | State.ENDED | State.ARCHIVED:
            return DueStep.NOTHING


def period_of(life: AcceptedLife) -> float:
    """Return the length in seconds of the present phase.

    Both instants in an event are readings of one clock by one writer, so their difference is a duration at any setting
    of this clock.
    """
    match life.phase:
        case Requested(start_by=until, at=since) | Dispatched(start_by=until, at=since):
            return max(until - since, 0.0)
        case Granted(deadline=until, at=since) | Started(deadline=until, at=since):
            return max(until - since, 0.0)
        case AwaitingApproval(until=until, requested_at=since):
            return max(until - since, 0.0)
        case Approved():  # as long as one that needed no approval has from its request
            return max(life.requested.start_by - life.requested.at, 0.0)


def _requested(life: AcceptedLife, age: WaitingAge, patience: WaitingTimes) -> DueStep:
    requested = life.requested
    if age.observed < patience.takeover:
        return DueStep.NOTHING
    if age.past(period_of(life)) > 0:
        return DueStep.EXPIRE
    if life.state is State.REQUESTED and needs_approval(requested):
        return DueStep.BEGIN
    if requested.dry_run or requested.target == WRIT_TARGET or (requested.risk == "read" and not requested.limits):
        return DueStep.BEGIN
    return DueStep.ADVANCE


def _running(life: AcceptedLife, age: WaitingAge, silence: float, patience: WaitingTimes) -> DueStep:
    if life.requested.target == WRIT_TARGET:
        return DueStep.CONTROL if age.observed > patience.lease else DueStep.NOTHING
    silent = silence > patience.lease
    overtime = age.past(period_of(life))
    if silent and overtime > patience.lease:
        return DueStep.MARK_UNKNOWN
    if life.state is State.CANCELLING:
        queue = LONGEST_QUEUE if life.requested.risk == "read" else 0.0
        lost = overtime > queue + STUBBORN_LEASES * patience.lease
        return DueStep.MARK_UNKNOWN if lost else DueStep.CANCEL
    if silent and age.observed > patience.lease:  # a replica may not have read it yet
        return DueStep.PROBE
    return DueStep.NOTHING
