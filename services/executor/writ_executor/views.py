"""How an operation looks to its requester: lives and decisions as answers. Pure."""

from typing import Any

from writ_contracts import journal
from writ_contracts.decisions import Decision
from writ_contracts.errors import WritError
from writ_contracts.life import Life
from writ_contracts.requests import Answer, Failure, OperationView, Verdict


def failure(error: WritError) -> Failure:
    """An error as it crosses the wire."""
    return Failure(code=error.code, message=str(error), retry=error.retry)


def verdict(decision: Decision) -> Verdict:
    """A decision in short."""
    policy = f"{decision.policy.name}@{decision.policy.digest[:12]}"
    return Verdict(
        decision=decision.effect, rules=decision.rules, reason=decision.reason, code=decision.code, policy=policy
    )


def answer(life: Life) -> Answer:
    """The reply to the request that made this operation, as it stands now."""
    what = life.requested or life.refused
    if what is None:
        return Answer()
    return Answer(
        operation_id=what.operation_id,
        correlation_id=what.correlation_id,
        state=life.state,
        outcome=life.outcome,
        verdict=what.verdict,
        error=_refusal(life.refused),
    )


def _refusal(refused: journal.Refused | None) -> Failure | None:
    return None if refused is None else Failure(code=refused.code, message=refused.message)


def view(life: Life, updated_at: float) -> OperationView | None:
    """The whole operation for its requester; None for one that never was."""
    what = life.requested or life.refused
    if what is None:
        return None
    return OperationView(
        operation_id=what.operation_id,
        principal=what.principal,
        operation=what.operation,
        target=what.target,
        state=life.state,
        requested_at=what.at,
        updated_at=updated_at,
        correlation_id=what.correlation_id,
        dry_run=what.dry_run,
        reason=what.reason,
        outcome=life.outcome,
        parameters=what.parameters,
        rules=what.verdict.rules if what.verdict else [],
        **_ended(life),
    )


def _ended(life: Life) -> dict[str, Any]:
    match life.end:
        case journal.Finished() | journal.Resolved():
            return {"code": life.end.code, "message": life.end.message, "output": life.end.output}
        case journal.Refused() | journal.Unknown():
            return {"code": life.end.code, "message": life.end.message}
        case None:
            return {}


def latest(life: Life) -> float:
    """When its latest event that a life keeps was written (Unix seconds)."""
    events = (life.requested, life.refused, life.dispatched, life.started, life.cancel, life.end)
    return max((event.at for event in events if event is not None), default=0.0)
