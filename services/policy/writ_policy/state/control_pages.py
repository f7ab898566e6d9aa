"""Pages of what is in force by control events: stops, emergencies and approval windows together, the latest first.

Anyone who may set stops can set many, so no page has a fixed share for each kind, and none is larger than a message.
"""

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from writ_contracts.policy.versions import EmergencyView, StopView, WindowView
from writ_contracts.wire import encode
from writ_policy.state import control_views
from writ_policy.state.cursors import cursor, latest_first
from writ_rules.engine.control import ControlState
from writ_rules.engine.policy_file.approval_windows import ApprovalWindow

MOST_ENTRIES = 200
PAGE_BYTES = 1_000_000
"""Of the entries, as JSON; the server takes 2 MB."""
Entry = StopView | EmergencyView | ApprovalWindow


class ControlPage(Struct, frozen=True, kw_only=True):
    """`more`: how many entries follow; `last`: the cursor that the next page begins after, "" on the last page."""

    stops: list[StopView]
    emergencies: list[EmergencyView]
    windows: list[WindowView]
    more: int
    last: str


def entries(control: ControlState, now: float) -> list[Entry]:
    """Return what is in force, and the emergencies that wait for their review."""
    windows = [one for one in control.windows if one.lasts(now)]
    return [*control_views.stops(control, now), *control_views.emergencies(control, now), *windows]


def own_windows(found: Sequence[Entry], principal: str) -> list[Entry]:
    """Return the windows of this principal alone: other entries name targets and principals."""
    return [one for one in found if isinstance(one, ApprovalWindow) and one.by == principal]


async def page(found: Sequence[Entry], after: str, used: Callable[[str], Awaitable[Sequence[str]]]) -> ControlPage:
    """Return the page of `entries` that begins after the cursor; "" is the first one. `used`: the operations that used
    a window. Raises Invalid for a text that is no cursor.
    """
    rest = latest_first(found, after)
    shown, size = list[StopView | EmergencyView | WindowView](), 0
    for one in rest[:MOST_ENTRIES]:
        view = control_views.window(one, await used(one.id)) if isinstance(one, ApprovalWindow) else one
        size += len(encode(view)) + 1
        if shown and size > PAGE_BYTES:
            break
        shown.append(view)
    more = len(rest) - len(shown)
    return ControlPage(
        stops=[one for one in shown if isinstance(one, StopView)],
        emergencies=[one for one in shown if isinstance(one, EmergencyView)],
        windows=[one for one in shown if isinstance(one, WindowView)],
        more=more,
        last=cursor(shown[-1]) if more else "",
    )
