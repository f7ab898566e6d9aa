"""The control state of decisions, folded from the journal's control events: stops and emergencies in force."""

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Struct, structs

from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.installation.restore_marker import ends_access
from writ_contracts.inventory import Principal, Target
from writ_contracts.journal import ControlEvent
from writ_contracts.people.principal_changes import read_change
from writ_contracts.policy.stops import Reach
from writ_rules.engine.clauses.patterns import Glob, Pattern, glob
from writ_rules.engine.policy_file.approval_windows import ApprovalWindow, windows_after
from writ_trust.sessions import NONE, Sessions, sessions_after


class Stop(Struct, frozen=True, eq=False):
    """A stop: no operation within its reach may start until `until` (Unix seconds; None: until the stop is lifted)."""

    id: str
    reach: Reach
    reason: str
    until: float | None
    by: str = ""
    since: float = 0.0

    def lasts(self, at: float) -> bool:
        """Return true until it ends."""
        return self.until is None or at < self.until


class Emergency(Struct, frozen=True, eq=False, kw_only=True):
    """An emergency: the emergency rules count on these targets until `until` (Unix seconds), or until somebody ends it.

    `person` declared it; another person has to confirm it before `confirm_by`, or it lapses (None: nobody else could).
    An emergency with a person stays in the state until its review is signed off, also after its end. An emergency
    without one was written by a version of Writ without reviews.
    """

    id: str
    scope: tuple[Glob | Pattern, ...]
    targets: tuple[str, ...]
    reason: str
    until: float
    by: str = ""
    person: str = ""
    since: float = 0.0
    confirm_by: float | None = None
    confirmed_by: str = ""
    ended_by: str = ""
    closed: bool = False
    """The journal has its closing event."""

    def lasts(self, at: float) -> bool:
        if self.ended_by or self.closed or at >= self.until:
            return False
        return not self.unconfirmed or at < (self.confirm_by or 0.0)

    @property
    def unconfirmed(self) -> bool:
        """Return true if another person still has to confirm it."""
        return self.confirm_by is not None and not self.confirmed_by

    def covers(self, target: str, at: float) -> bool:
        """Return true if the emergency is in force for this target now."""
        return self.lasts(at) and any(one.covers(target) for one in self.scope)

    def end(self, at: float) -> Literal["", "ended", "expired", "lapsed"]:
        """Return how it ended: `ended` by somebody, `expired`, or `lapsed` for lack of a confirmation; "" if not."""
        if self.lasts(at):
            return ""
        if self.ended_by:
            return "ended"
        return "lapsed" if self.unconfirmed and (self.confirm_by or 0.0) <= at else "expired"


class ControlState(Struct, frozen=True, eq=False):
    """The state after the control event at `sequence` of the journal."""

    sequence: int = 0
    stops: tuple[Stop, ...] = ()
    emergencies: tuple[Emergency, ...] = ()
    reviewed: tuple[Emergency, ...] = ()
    """Emergencies that were reviewed before the journal had their closing events."""
    changes: tuple[PrincipalManage, ...] = ()
    """The changes of principals, in order (`writ_contracts.people.principal_changes`)."""
    windows: tuple[ApprovalWindow, ...] = ()
    """The approval windows that nobody has ended; some may be over by their time."""
    sessions: Sessions = NONE
    """The sessions that nobody has ended, by their keys; some may be over by their time."""

    def stop_of(self, target: Target, principal: Principal, operation: str, at: float) -> Stop | None:
        """Return a stop that blocks this operation now, or None."""
        if not self.stops:  # usually there is none, and every decision calls this
            return None
        names = [name for name in (principal.id, principal.acts_for, principal.person) if name]
        covered = (stop for stop in self.stops if stop.lasts(at))
        return next((stop for stop in covered if stop.reach.covers(target.id, target.role, names, operation)), None)

    def emergency_of(self, target: str, at: float) -> Emergency | None:
        """Return an emergency in force for this target, or None; a confirmed one before others."""
        covering = [emergency for emergency in self.emergencies if emergency.covers(target, at)]
        return min(covering, key=lambda one: one.unconfirmed, default=None)


class _StopBody(Struct, frozen=True, kw_only=True):
    scope: list[str]
    roles: list[str] = []
    principals: list[str] = []
    operations: list[str] = []
    reason: str = ""
    until: float | None = None


class _EmergencyBody(Struct, frozen=True, kw_only=True):
    scope: list[str]
    until: float
    reason: str = ""
    declared_by: str | None = None
    confirm_by: float | None = None


def apply(state: ControlState, sequence: int, event: ControlEvent | None) -> ControlState:
    """Return the state after an event.

    None is an unreadable event. It stops everything, since it might have been a stop.
    """
    if sequence <= state.sequence:
        return state
    if event is None:
        return structs.replace(state, sequence=sequence, stops=(*state.stops, _everything(f"unreadable-{sequence}")))
    return ControlState(
        sequence,
        tuple(_stops(state.stops, event)),
        tuple(_emergencies(state.emergencies, event)),
        _reviewed(state, event),
        _changes(state.changes, event),
        windows_after(state.windows, sequence, event, _reach_of(event)),
        sessions_after(state.sessions, event),
    )


def _reach_of(event: ControlEvent) -> Reach | None:
    """Return the reach of the stop set by the event, if any."""
    return _stop(event).reach if event.kind == "stop_set" else None


def _changes(changes: tuple[PrincipalManage, ...], event: ControlEvent) -> tuple[PrincipalManage, ...]:
    """Return the changes after an event; the same tuple if the event is no change."""
    return (*changes, read_change(event)) if event.kind == "principal_manage" else changes


def _stops(stops: Iterable[Stop], event: ControlEvent) -> Iterable[Stop]:
    if event.kind == "stop_set":
        return (*stops, _stop(event))
    if event.kind == "stop_lift":
        return (stop for stop in stops if stop.id != event.body.get("stop_id"))
    return stops


def _emergencies(emergencies: Iterable[Emergency], event: ControlEvent) -> Iterable[Emergency]:
    """Return the emergencies after an event. An unreadable declaration is ignored, since it would only permit more."""
    if event.kind == "emergency_declare":
        try:
            read = msgspec.convert(event.body, _EmergencyBody)
        except msgspec.ValidationError:
            return emergencies
        return (*emergencies, _declared(event, read))
    if ends_access(event):
        return _kept(structs.replace(one, ended_by="restore") if one.lasts(event.at) else one for one in emergencies)
    named = str(event.body.get("emergency_id", ""))
    if event.kind == "emergency_confirm":
        return _changed(emergencies, named, event, ends=event.body.get("verdict") == "end")
    if event.kind == "emergency_closed":
        return _kept(structs.replace(one, closed=True) if one.id == named else one for one in emergencies)
    if event.kind == "emergency_review":
        return (one for one in emergencies if one.id != named)
    return emergencies


def _reviewed(state: ControlState, event: ControlEvent) -> tuple[Emergency, ...]:
    """Return the reviewed emergencies without a closing event; the same tuple if the event is about none."""
    named = event.body.get("emergency_id")
    if event.kind == "emergency_review":
        return (*state.reviewed, *(one for one in state.emergencies if one.id == named and not one.closed))
    if event.kind == "emergency_closed":
        return tuple(one for one in state.reviewed if one.id != named)
    return state.reviewed


def _declared(event: ControlEvent, read: _EmergencyBody) -> Emergency:
    return Emergency(
        id=event.id,
        scope=tuple(glob(text) for text in read.scope),
        targets=tuple(read.scope),
        reason=read.reason,
        until=read.until,
        by=event.principal,
        person=read.declared_by or "",
        since=event.at,
        confirm_by=read.confirm_by,
    )


def _changed(emergencies: Iterable[Emergency], named: str, event: ControlEvent, *, ends: bool) -> Iterable[Emergency]:
    change = {"ended_by": event.principal} if ends else {"confirmed_by": event.principal}
    return _kept(structs.replace(one, **change) if one.id == named else one for one in emergencies)


def _kept(emergencies: Iterable[Emergency]) -> Iterable[Emergency]:
    """Return the emergencies without those that have ended and need no review."""
    return (one for one in emergencies if one.person or not (one.ended_by or one.closed))


def _stop(event: ControlEvent) -> Stop:
    try:
        read = msgspec.convert(event.body, _StopBody)
    except msgspec.ValidationError:
        return _everything(event.id)
    reach = Reach(
        targets=read.scope,
        roles=frozenset(read.roles),
        principals=frozenset(read.principals),
        operations=frozenset(read.operations),
    )
    return Stop(event.id, reach, read.reason, read.until, event.principal, event.at)


def _everything(stop_id: str) -> Stop:
    return Stop(stop_id, Reach(), "a control event could not be read", None)
