"""Check the control events of a range: whether policy allowed exactly each of them, and which starts count by them.

Windows and emergencies are known from their event on. Starts by ones from before the range are not checked.
"""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from msgspec import Struct

from writ_contracts.catalogue import control
from writ_contracts.catalogue.sessions import SESSION_OPEN, SessionEnd, SessionOpen
from writ_contracts.catalogue.windows import WindowEnd, WindowRequest
from writ_contracts.decisions import Decision
from writ_contracts.errors import Untrusted
from writ_contracts.journal import ControlEvent, WindowUsed
from writ_trust.control_events import covers_parameters
from writ_trust.sessions import check_signed

CHECKED: Mapping[str, type[Struct]] = MappingProxyType(
    {
        "stop_set": control.StopSet,
        "stop_lift": control.StopLift,
        "emergency_declare": control.EmergencyDeclare,
        "emergency_confirm": control.EmergencyConfirm,
        "emergency_review": control.EmergencyReview,
        "window_request": WindowRequest,
        "window_end": WindowEnd,
        SESSION_OPEN: SessionOpen,
        "session_end": SessionEnd,
        "principal_manage": control.PrincipalManage,
    }
)
"""The kinds whose parameters are all in the event. Published documents are in versions of the policy."""


class _Window(Struct):
    by: str
    operations: frozenset[str]
    targets: frozenset[str]
    uses: int
    until: float
    ended: float = float("inf")
    """The sequence of the event that ended it."""
    used: int | None = None
    """The number of its last use; None before the first one in the range."""


class _Emergency(Struct):
    people: frozenset[str]
    until: float
    ended: float = float("inf")


class ControlRecord:
    """The windows and emergencies of a range by id, and the starts that used windows."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}
        self._emergencies: dict[str, _Emergency] = {}
        self._uses: dict[str, str] = {}
        """By operation: the window that it used."""
        self._by_window: dict[str, str] = {}
        """By operation: the window that its grant names, until its end."""

    def take(self, event: ControlEvent, decision: Decision, sequence: int) -> None:
        """Check a control event with policy's decision. Raises Untrusted."""
        kind = CHECKED.get(event.kind)
        if kind is None:
            return
        if (decision.operation, decision.effect) != (event.kind, "allow") or decision.dry_run:
            raise Untrusted("policy did not allow it")
        if not covers_parameters(decision, event, kind):
            raise Untrusted("policy allowed other parameters")
        try:
            self._apply(event, decision, sequence)
        except msgspec.ValidationError as error:
            raise Untrusted(f"its parameters are not those of a {event.kind}: {error}") from error

    def _apply(self, event: ControlEvent, decision: Decision, sequence: int) -> None:
        body = event.body
        match event.kind:
            case "window_request":
                self._windows.setdefault(event.id, _window(event, decision))
            case "window_end" if (window := self._windows.get(str(body.get("window_id")))) is not None:
                window.ended = min(window.ended, sequence)
            case "session_open":
                check_signed(event, decision)
            case "emergency_declare":
                self._emergencies.setdefault(event.id, _emergency(event))
            case "emergency_confirm" if (emergency := self._emergencies.get(str(body.get("emergency_id")))) is not None:
                _confirm(emergency, event, sequence)
            case _:
                return

    def granted(self, decision: Decision) -> None:
        """Check a start against the window and the emergency that its decision names. Raises Untrusted."""
        if decision.window:
            self._by_window[decision.operation_id] = decision.window
            self._in_window(decision)
        emergency = self._emergencies.get(decision.emergency)
        if emergency is not None and _is_over(emergency.until, emergency.ended, decision):
            raise Untrusted(f"it started by emergency {decision.emergency}, which had ended")

    def _in_window(self, decision: Decision) -> None:
        window = self._windows.get(decision.window)
        if window is None:
            return
        covered = decision.operation in window.operations and decision.target in window.targets
        if decision.principal != window.by or not covered:
            raise Untrusted(f"it started by window {decision.window}, which does not cover it")
        if _is_over(window.until, window.ended, decision):
            raise Untrusted(f"it started by window {decision.window}, which had ended")

    def used(self, event: WindowUsed) -> None:
        """Check one use of a window. Raises Untrusted."""
        if self._uses.setdefault(event.operation_id, event.window) != event.window:
            raise Untrusted(f"{event.operation_id} is a use of two windows")
        window = self._windows.get(event.window)
        if window is None:
            return
        before, window.used = window.used, event.use
        if event.use != (before or 0) + 1:
            raise Untrusted(f"it is use {event.use} of its window, after use {before or 0}")
        if event.use > window.uses or event.principal != window.by:
            raise Untrusted(f"it is use {event.use} of {window.uses} by {event.principal}, of a window of {window.by}")

    def ended(self, operation_id: str) -> None:
        """Check at its end that an operation by a window was counted. Raises Untrusted."""
        window, used = self._by_window.pop(operation_id, ""), self._uses.pop(operation_id, "")
        if window in self._windows and used != window:
            raise Untrusted(f"it ran by window {window}, which has no use of it")


def _window(event: ControlEvent, decision: Decision) -> _Window:
    fields = {name: event.body[name] for name in WindowRequest.__struct_fields__ if name in event.body}
    request = msgspec.convert(fields, WindowRequest)
    return _Window(
        by=event.principal,
        operations=frozenset(request.operations),
        targets=frozenset(request.targets),
        uses=request.uses,
        until=decision.at + request.seconds,
    )


def _emergency(event: ControlEvent) -> _Emergency:
    until, person = float(event.body.get("until") or 0.0), event.body.get("declared_by")
    return _Emergency(people=frozenset({event.principal, str(person or event.principal)}), until=until)


def _confirm(emergency: _Emergency, event: ControlEvent, sequence: int) -> None:
    if event.body.get("verdict") == "end":
        emergency.ended = min(emergency.ended, sequence)
    elif event.principal in emergency.people:
        raise Untrusted(f"{event.principal} confirmed an emergency of their own")


def _is_over(until: float, ended: float, decision: Decision) -> bool:
    return decision.at >= until or decision.control_sequence >= ended
