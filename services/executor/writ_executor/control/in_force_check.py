"""The check for the stop or emergency named by a control operation: an unknown id must not look like a success."""

from collections.abc import Iterable

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.journal import ControlEvent, Requested

UNREADABLE = "unreadable-"
"""Policy names a stop so whose event it could not read; see `writ_rules.engine.control`."""


class EndingKind(Struct, frozen=True):
    """A kind of control event which ends another kind's effect, by its id in `field`."""

    begun_by: str
    field: str
    word: str


ENDINGS = {
    "stop_lift": EndingKind("stop_set", "stop_id", "stop"),
    "emergency_confirm": EndingKind("emergency_declare", "emergency_id", "emergency"),
    "window_end": EndingKind("window_request", "window_id", "approval window"),
    "session_end": EndingKind("session_open", "session_id", "session"),
}


def check_in_force(requested: Requested, begun: Iterable[ControlEvent], ended: Iterable[ControlEvent]) -> None:
    """Raises Invalid (`not_found`) for an id never set, or ended by another operation.

    `begun` and `ended` are the events of both kinds.
    """
    ending = ENDINGS[requested.operation]
    expected = str(requested.effective[ending.field])
    if expected.startswith(UNREADABLE):
        return
    over = {event.body.get(ending.field) for event in ended if _ends(event) and event.id != requested.operation_id}
    left = [event.id for event in begun if event.id not in over]
    if expected not in left:
        if ending.word == "session":  # policy shows them to their persons alone
            raise Invalid(f"no session {expected} is open: `writ sessions list`", code="not_found")
        there = f"in force: {', '.join(left[-5:])}" if left else "none is in force"
        raise Invalid(f"no {ending.word} {expected} is in force; {there}", code="not_found")


def _ends(event: ControlEvent) -> bool:
    return event.kind in ("stop_lift", "window_end", "session_end") or event.body.get("verdict") == "end"
