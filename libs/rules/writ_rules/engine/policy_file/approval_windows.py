"""Approval windows: approvals given in advance for a number of uses of operations on targets by one principal, for a
limited time.

A window allows nothing by itself. Its approvers count as approvers of each operation that needs approval.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from writ_contracts.catalogue.windows import LONGEST, WindowRequest
from writ_contracts.decisions import Decision
from writ_contracts.errors import Untrusted
from writ_contracts.installation.restore_marker import ends_access
from writ_contracts.journal import ControlEvent
from writ_contracts.policy.stops import Reach
from writ_rules.engine.policy_file import times
from writ_rules.engine.policy_file.format import ApprovalWindowsEntry
from writ_trust.statements import read


class WindowTerms(Struct, frozen=True):
    """The bounds of windows: seconds, and uses."""

    longest: float
    most_uses: int


class ApprovalWindow(Struct, frozen=True, kw_only=True):
    """A window of the principal `by`, with people's approvals; its id is the id of the requesting operation.

    Its time runs from policy's last decision on the request, after the approvals by `approvers`. `sequence`: its
    event's first one.
    """

    id: str
    by: str
    operations: frozenset[str]
    targets: frozenset[str]
    uses: int
    since: float
    until: float
    reason: str
    sequence: int
    approvers: tuple[str, ...] = ()
    acts_for: str | None = None
    """The human that the requester acts for."""

    def covers(self, principal: str, operation: str, target: str, at: float) -> bool:
        """Return true if it may replace an approval of this request, as long as it has uses left."""
        return self.by == principal and operation in self.operations and target in self.targets and self.lasts(at)

    def lasts(self, at: float) -> bool:
        """Return true until it expires."""
        return at < self.until

    def is_within(self, reach: Reach) -> bool:
        """Return true if a stop with this reach blocks one of its operations."""
        named = [(target, operation) for target in self.targets for operation in self.operations]
        requesters = [self.by, *([self.acts_for] if self.acts_for else [])]
        return any(reach.covers(target, None, requesters, operation) for target, operation in named)


def window_terms_of(entry: ApprovalWindowsEntry | None, attempt: Callable[..., Any]) -> WindowTerms:
    """Return the terms; `attempt` notes a text which is no duration as an error of the file."""
    settings = entry or ApprovalWindowsEntry()
    longest = attempt(("policies", "approval_windows", "longest"), 0, times.duration, settings.longest)
    return WindowTerms(longest=min(longest, LONGEST), most_uses=settings.most_uses)


def windows_after(
    windows: tuple[ApprovalWindow, ...], sequence: int, event: ControlEvent, reach: Reach | None
) -> tuple[ApprovalWindow, ...]:
    """Return the windows after a control event; `reach`: of a stop set by it, which ends them for good.

    An unreadable request opens none, since it would only permit more.
    """
    if event.kind == "window_request":
        opened = _opened(sequence, event)
        return windows if opened is None else (*(one for one in windows if one.lasts(opened.since)), opened)
    if event.kind == "principal_manage" and event.body.get("action") == "remove":  # the id may be reused
        return tuple(one for one in windows if one.by != event.body.get("principal_id"))
    if event.kind == "window_end":
        return tuple(one for one in windows if one.id != event.body.get("window_id"))
    if ends_access(event):
        return ()
    if reach is not None:
        return tuple(one for one in windows if not one.is_within(reach))
    return windows


def _opened(sequence: int, event: ControlEvent) -> ApprovalWindow | None:
    known = WindowRequest.__struct_fields__
    if event.decision is None or event.id != event.operation_id:  # it would have another window's uses
        return None
    try:
        request = msgspec.convert({name: value for name, value in event.body.items() if name in known}, WindowRequest)
        decision = read(event.decision, Decision)
    except (msgspec.ValidationError, Untrusted):
        return None
    return ApprovalWindow(
        id=event.id,
        by=event.principal,
        operations=frozenset(request.operations),
        targets=frozenset(request.targets),
        uses=request.uses,
        since=decision.at,
        until=decision.at + request.seconds,
        reason=request.reason,
        sequence=sequence,
        approvers=tuple(decision.approvals),
        acts_for=decision.acts_for,
    )
