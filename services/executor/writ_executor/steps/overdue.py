"""What is overdue in an operation's life: a pure function of that life and the time, asked each second."""

from enum import StrEnum

from msgspec import Struct

from writ_contracts.ids import WRIT_TARGET
from writ_contracts.life import Life, State

RESOLVE_SECONDS = 900.0
STUBBORN_LEASES = 5
"""After so many past its deadline it is lost, even if an agent still says that it has it."""


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
    LOSE = "lose"


class Patience(Struct, frozen=True, kw_only=True):
    """How long we wait, in seconds: for the replica that began it, and for an agent that fell silent."""

    takeover: float
    lease: float


def due(life: Life, now: float, silence: float, patience: Patience) -> Due:
    """`now`: Unix seconds; `silence`: seconds since an agent last said that it runs this."""
    match life.state:
        case State.REQUESTED:
            return _requested(life, now, patience)
        case State.AWAITING_APPROVAL:
            return Due.EXPIRE if _start_by(life) < now else Due.NOTHING
        case State.APPROVED:
            return Due.EXPIRE if _start_by(life) < now else Due.ADVANCE
        case State.DISPATCHED:
            return Due.EXPIRE if life.dispatched and life.dispatched.start_by < now else Due.NOTHING
        case State.STARTED | State.CANCELLING:
            return _running(life, now, silence, patience)
        case State.UNKNOWN:
            return Due.PROBE if life.end and now - life.end.at < RESOLVE_SECONDS else Due.NOTHING
        case State.ABSENT | State.ENDED | State.ARCHIVED:
            return Due.NOTHING


def _requested(life: Life, now: float, patience: Patience) -> Due:
    requested = life.requested
    if requested is None or now - requested.at < patience.takeover:
        return Due.NOTHING
    if requested.start_by < now:
        return Due.EXPIRE
    if requested.dry_run or requested.target == WRIT_TARGET or (requested.risk == "read" and not requested.limits):
        return Due.BEGIN
    return Due.ADVANCE


def _running(life: Life, now: float, silence: float, patience: Patience) -> Due:
    started = life.started
    if started is None:
        return Due.NOTHING
    if life.requested and life.requested.target == WRIT_TARGET:
        return Due.CONTROL if now - started.at > patience.lease else Due.NOTHING
    silent = silence > patience.lease
    overtime = now - started.deadline
    if overtime > (patience.lease if silent else STUBBORN_LEASES * patience.lease):
        return Due.LOSE
    if life.state is State.CANCELLING:
        return Due.CANCEL
    if silent and now - started.at > patience.lease:  # a replica may not have heard of it yet
        return Due.PROBE
    return Due.NOTHING


def _start_by(life: Life) -> float:
    return life.requested.start_by if life.requested else 0.0
