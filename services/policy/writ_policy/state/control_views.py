"""Present stops and emergencies to people and metrics. The functions are pure."""

from collections.abc import Sequence

from writ_contracts.bounds import first_names
from writ_contracts.policy.versions import EmergencyView, StopView, WindowView
from writ_rules.engine.control import ControlState, Emergency, Stop
from writ_rules.engine.policy_file.approval_windows import ApprovalWindow

LONGEST_LINE = 160
_STATES = {"in_force": "is in force", "unconfirmed": "is in force and not confirmed"}
_OVER = "is over and waits for its review"


def stops(control: ControlState, now: float) -> list[StopView]:
    """Return the stops in force, the latest first."""
    return [_stop(stop) for stop in reversed(control.stops) if stop.lasts(now)]


def emergencies(control: ControlState, now: float) -> list[EmergencyView]:
    """Return the emergencies that are in force or wait for their review, the latest first."""
    open_ones = (one for one in reversed(control.emergencies) if one.person or one.lasts(now))
    return [_emergency(one, now) for one in open_ones]


def window(one: ApprovalWindow, used: Sequence[str]) -> WindowView:
    """Return an approval window with the operations that used it."""
    return WindowView(
        id=one.id,
        by=one.by,
        reason=one.reason[:500],
        since=one.since,
        until=one.until,
        uses=one.uses,
        operations=sorted(one.operations),
        targets=sorted(one.targets),
        used=list(used),
        approved_by=list(one.approvers),
    )


def in_words(control: ControlState, now: float) -> str:
    """Return a line for `writ status`, "" where there is nothing to tell."""
    held = [f"stop {one.id} is in force{_reach(one)}, by {one.by}: {one.reason}" for one in stops(control, now)]
    texts = [
        f"emergency {one.id} {_STATES.get(one.state, _OVER)}, by {one.by}: {one.reason}"
        for one in emergencies(control, now)
    ]
    windows = [
        f"approval window {one.id} is in force, of {one.by}: {one.reason}" for one in control.windows if one.lasts(now)
    ]
    return _cut([*held, *texts, *windows])


def _reach(stop: StopView) -> str:
    """Return what a stop is about, nothing for one of everything. Author and reason follow in the same line."""
    targets = [] if stop.targets == ["*"] else stop.targets
    lists = {"targets": targets, "roles": stop.roles, "operations": stop.operations, "principals": stop.principals}
    parts = [f"{name} {first_names(values)}" for name, values in lists.items() if values]
    return f" for {'; '.join(parts)}" if parts else ""


def _cut(lines: Sequence[str], most: int = 5) -> str:
    more = f"; {len(lines) - most} more" if len(lines) > most else ""
    shown = [line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 3]}..." for line in lines[:most]]
    return "; ".join(shown) + more


def _stop(stop: Stop) -> StopView:
    return StopView(
        id=stop.id,
        by=stop.by,
        reason=stop.reason[:500],
        since=stop.since,
        until=stop.until,
        targets=list(stop.reach.targets),
        roles=sorted(stop.reach.roles),
        principals=sorted(stop.reach.principals),
        operations=sorted(stop.reach.operations),
    )


def _emergency(one: Emergency, now: float) -> EmergencyView:
    return EmergencyView(
        id=one.id,
        by=one.by,
        reason=one.reason[:500],
        since=one.since,
        until=one.until,
        state=one.end(now) or ("unconfirmed" if one.unconfirmed else "in_force"),
        targets=list(one.targets),
        confirm_by=one.confirm_by,
        confirmed_by=one.confirmed_by,
        ended_by=one.ended_by,
    )
