"""Apply approval windows at decisions and starts.

A window counts as the approval of an operation if its approvers could approve that operation, by the present policy and
roles. A use is stored in one batch with its `granted` event, and each use has a number: of two starts with the same
number the journal accepts one, even after a restart.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct, structs

from writ_bus.port import Entry, Journal
from writ_bus.tracing import stamp
from writ_contracts import subjects
from writ_contracts.decisions import Subject
from writ_contracts.errors import WritError
from writ_contracts.history.records import Record
from writ_contracts.journal import WindowUsed
from writ_contracts.wire import decode_event, encode
from writ_policy.decisions.recorded_approvals import CountedApprovals, counted, exact_of
from writ_policy.decisions.rulings import Judge, RuledRequest
from writ_policy.starts import OpenDecision, RecordedOperation, check_decided, read_recorded
from writ_policy.state.snapshot import PolicySnapshot
from writ_rules.engine.policy_file.approval_windows import ApprovalWindow
from writ_runtime.logs import Log

MOST_KNOWN = 256

_log = Log("writ.policy")


class WindowUses(Struct, frozen=True):
    """The uses of a window so far, and the last sequence of its subject."""

    operations: tuple[str, ...] = ()
    sequence: int = 0


class WindowRuling(Protocol):
    """A ruling on the same request with the approvals of a window."""

    def __call__(self, *, approvals: CountedApprovals | None, window: str) -> RuledRequest: ...


class CountedFirst(Exception):
    """Another start was counted first, under the same limit or as the use of the same approval window."""


class OpenWindows:
    """The approval windows in the control state, with their approvals and uses from the journal."""

    def __init__(self, journal: Journal, keys: Mapping[str, int], opened: OpenDecision) -> None:
        """Read from `journal`. `keys`: policy's keys, each with the last event that it may have signed. `opened`
        verifies a decision.
        """
        self._journal = journal
        self._keys = keys
        self._opened = opened
        self._requests: dict[str, tuple[RecordedOperation, Sequence[Record]]] = {}

    async def apply(self, judge: Judge, subject: Subject, ruled: RuledRequest, rule: WindowRuling) -> RuledRequest:
        """Return the ruling by the first window that makes further approvals unnecessary, or else the same ruling."""
        operation, ruling = ruled.request.operation, ruled.ruling
        if ruling.effect != "require_approval" or operation.control:
            return ruled
        if not all(demand.accepts_windows(operation.risk) for demand in ruling.demands):
            return ruled
        covering = (subject.principal, subject.operation, subject.target, judge.now)
        for window in sorted(judge.control.windows, key=lambda one: one.until):
            if window.covers(*covering) and await self._has_use(window, subject.operation_id):
                by_window = rule(approvals=await self._approvals(window, judge.snapshot), window=window.id)
                if by_window.ruling.effect == "allow":
                    return by_window
        return ruled

    async def uses(self, window: str) -> WindowUses:
        records = await self._journal.read(subjects.window_uses(window))
        used = [event for record in records if isinstance(event := decode_event(record.data), WindowUsed)]
        return WindowUses(tuple(one.operation_id for one in used), records[-1].sequence if records else 0)

    async def lapsed(self, judge: Judge, ruled: RuledRequest, window_id: str) -> RuledRequest:
        """Return a denial if the first decision was by a window that no longer counts for the operation, else the same
        ruling.
        """
        window = next((one for one in judge.control.windows if one.id == window_id), None)
        if window is None or not window.lasts(judge.now):
            return _lapsed(ruled, f"approval window {window_id}, which allowed it, is over")
        if not await self._has_use(window, ruled.decision.operation_id):
            return _lapsed(ruled, f"approval window {window_id}, which allowed it, has no use left")
        return _lapsed(ruled, f"the people who approved window {window_id}, which allowed it, no longer suffice")

    async def use(self, judge: Judge, ruled: RuledRequest) -> Entry | None:
        """Return the entry that takes one use, to be stored with the start, or None if the operation has its use
        already.

        Raises CountedFirst if no use is left. The append of the entry fails if another start is first.
        """
        window = next(one for one in judge.control.windows if one.id == ruled.decision.window)
        uses, decision = await self.uses(window.id), ruled.decision
        if decision.operation_id in uses.operations:
            return None
        if len(uses.operations) >= window.uses:
            raise CountedFirst
        event = WindowUsed(
            **stamp(judge.now, ""),
            window=window.id,
            use=len(uses.operations) + 1,
            most=window.uses,
            target=decision.target,
            operation_id=decision.operation_id,
            principal=decision.principal,
        )
        line = subjects.window_uses(window.id)
        return Entry(subject=line, data=encode(event), event_id=event.id, filter=line, expected=uses.sequence)

    async def _has_use(self, window: ApprovalWindow, operation_id: str) -> bool:
        used = (await self.uses(window.id)).operations
        return operation_id in used or len(used) < window.uses

    async def _approvals(self, window: ApprovalWindow, snapshot: PolicySnapshot) -> CountedApprovals | None:
        """Return the window's valid approvals, with the presences that they prove. A forged window has none."""
        try:
            recorded, records = await self._request_of(window)
        except WritError as error:
            _log.warning("window.unproven", window=window.id, error=str(error), effect="it covers nothing")
            return None
        return counted(recorded.life.approvals, exact_of(recorded, records), snapshot)

    async def _request_of(self, window: ApprovalWindow) -> tuple[RecordedOperation, Sequence[Record]]:
        """Return the operation that requested the window; it stays approved after it was carried out."""
        known = self._requests.get(window.id)
        if known is None:
            records = await self._journal.read(subjects.operation_filter(window.by, window.id))
            recorded = read_recorded(records, window.by, window.id)
            check_decided(recorded, self._keys, self._opened)
            if len(self._requests) >= MOST_KNOWN:
                self._requests.clear()
            known = self._requests[window.id] = recorded, records
        return known


def _lapsed(ruled: RuledRequest, why: str) -> RuledRequest:
    reason = f"{why}: {ruled.ruling.reason}"
    ruling = structs.replace(ruled.ruling, effect="deny", code="window_over", reason=reason, rules=[])
    decision = structs.replace(ruled.decision, effect="deny", code="window_over", reason=reason, rules=[], demands=[])
    return structs.replace(ruled, ruling=ruling, decision=decision)
