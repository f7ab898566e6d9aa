"""The requester's view of an operation, derived from its life alone, by executor or client. Pure."""

from typing import Any

from writ_contracts import journal
from writ_contracts.life import AcceptedLife, CancellingLife, Life, RefusedLife
from writ_contracts.requests import OperationView


def view(life: Life, updated_at: float) -> OperationView | None:
    """Return the whole operation for its requester; None for an unknown one."""
    first = life.what
    if first is None:
        return None
    if isinstance(first, journal.Archived):
        return _remembered(first)
    return OperationView(
        operation_id=first.operation_id,
        principal=first.principal,
        operation=first.operation,
        target=first.target,
        state=life.state,
        requested_at=first.at,
        updated_at=updated_at,
        correlation_id=first.correlation_id,
        dry_run=first.dry_run,
        reason=first.reason,
        outcome=life.outcome,
        parameters=first.parameters,
        rules=first.verdict.rules if first.verdict else [],
        **_ended(life),
    )


def _remembered(archived: journal.Archived) -> OperationView:
    """Return the rest of an operation whose events are in an archive."""
    return OperationView(
        operation_id=archived.operation_id,
        principal=archived.principal,
        operation=archived.operation,
        target=archived.target,
        state="archived",
        requested_at=archived.requested_at,
        updated_at=archived.at,
        correlation_id=archived.correlation_id,
        dry_run=archived.dry_run,
        outcome=archived.outcome,
        code=archived.code,
        message=_where(archived),
    )


def _where(archived: journal.Archived) -> str:
    return f"its events are in archive {archived.generation} of the journal"


def _ended(life: Life) -> dict[str, Any]:
    match life.end:
        case journal.Finished() | journal.Resolved() | journal.Unknown():
            return {"code": life.end.code, "message": life.end.message, "output": life.end.output}
        case journal.Rejected():
            return {"code": "rejected", "message": rejection_text(life.end)}
        case journal.Refused():
            return {"code": life.end.code, "message": life.end.message}
        case journal.Archived():
            return {"code": life.end.code, "message": _where(life.end)}
        case None:
            return {}


def rejection_text(end: journal.Rejected) -> str:
    """Return the approver and the reason of a rejection."""
    return f"rejected by {end.approver}" + (f": {end.reason}" if end.reason else "")


def latest(life: Life) -> float:
    """Return the time (Unix seconds) of the latest event in the life."""
    events: list[journal.OperationEvent] = [life.end] if life.end else []
    match life:
        case RefusedLife():
            events.append(life.refused)
        case CancellingLife():
            events += [life.requested, life.phase, life.cancel]
        case AcceptedLife():
            events += [life.requested, life.phase]
    return max((event.at for event in events), default=0.0)
