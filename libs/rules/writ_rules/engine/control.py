"""The control state of decisions, folded from the journal's control events: stops and emergencies in force."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from writ_contracts.journal import ControlEvent
from writ_rules.engine.patterns import Pattern, glob


class Stop(Struct, frozen=True, eq=False):
    """No operation may start on these targets until `until` (Unix seconds; None: until it is lifted)."""

    id: str
    scope: tuple[Pattern, ...]
    reason: str
    until: float | None

    def covers(self, target: str, at: float) -> bool:
        """Return whether it stops this target at the instant."""
        return (self.until is None or at < self.until) and any(one.covers(target) for one in self.scope)


class Emergency(Struct, frozen=True, eq=False):
    """The emergency rules apply on these targets until `until` (Unix seconds), or until somebody ends it."""

    id: str
    scope: tuple[Pattern, ...]
    reason: str
    until: float

    def covers(self, target: str, at: float) -> bool:
        """Return whether this target is in the emergency at the instant."""
        return at < self.until and any(one.covers(target) for one in self.scope)


class ControlState(Struct, frozen=True, eq=False):
    """The state after the control event at `sequence` of the journal."""

    sequence: int = 0
    stops: tuple[Stop, ...] = ()
    emergencies: tuple[Emergency, ...] = ()

    def stop_of(self, target: str, at: float) -> Stop | None:
        """Return a stop in force for this target, if any."""
        for stop in self.stops:  # a loop, since there is mostly none and every decision asks
            if stop.covers(target, at):
                return stop
        return None

    def emergency_of(self, target: str, at: float) -> Emergency | None:
        """Return an emergency in force for this target, if any."""
        for emergency in self.emergencies:
            if emergency.covers(target, at):
                return emergency
        return None


class _StopBody(Struct, frozen=True, kw_only=True):
    scope: list[str]
    reason: str = ""
    until: float | None = None


class _EmergencyBody(Struct, frozen=True, kw_only=True):
    scope: list[str]
    until: float
    reason: str = ""


def apply(state: ControlState, sequence: int, event: ControlEvent | None) -> ControlState:
    """Return the state after an event. None is an unreadable event, which stops everything: it might have been a
    stop.
    """
    if sequence <= state.sequence:
        return state
    if event is None:
        return ControlState(sequence, (*state.stops, _everything(f"unreadable-{sequence}")), state.emergencies)
    return ControlState(sequence, tuple(_stops(state.stops, event)), tuple(_emergencies(state.emergencies, event)))


def _stops(stops: Iterable[Stop], event: ControlEvent) -> Iterable[Stop]:
    if event.kind == "stop_set":
        return (*stops, _stop(event.id, event.body))
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
        scope = tuple(glob(text) for text in read.scope)
        return (*emergencies, Emergency(event.id, scope, read.reason, read.until))
    if event.kind == "emergency_confirm" and event.body.get("verdict") == "end":
        return (one for one in emergencies if one.id != event.body.get("emergency_id"))
    return emergencies


def _stop(stop_id: str, body: dict[str, Any]) -> Stop:
    try:
        read = msgspec.convert(body, _StopBody)
    except msgspec.ValidationError:
        return _everything(stop_id)
    return Stop(stop_id, tuple(glob(text) for text in read.scope), read.reason, read.until)


def _everything(stop_id: str) -> Stop:
    return Stop(stop_id, (glob("*"),), "a control event could not be read", None)
