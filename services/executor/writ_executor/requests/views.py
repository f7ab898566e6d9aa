"""How an operation looks to its requester: lives and decisions as answers. Pure."""

from writ_contracts import journal
from writ_contracts.decisions import Decision
from writ_contracts.errors import WritError
from writ_contracts.life import Life
from writ_contracts.requests import Failure, Problem, RequestAnswer, Verdict


def failure(error: WritError) -> Failure:
    """An error as it crosses the wire."""
    found = [Problem(line=line, column=column, message=text) for line, column, text in getattr(error, "problems", ())]
    return Failure(code=error.code, message=str(error), retry=error.retry, problems=found)


def verdict(decision: Decision) -> Verdict:
    """A decision in short."""
    policy = f"{decision.policy.name}@{decision.policy.digest[:12]}"
    return Verdict(
        decision=decision.effect, rules=decision.rules, reason=decision.reason, code=decision.code, policy=policy
    )


def answer(life: Life) -> RequestAnswer:
    """The reply to the request that made this operation, as it stands now."""
    what = life.requested or life.refused
    if what is None:
        return RequestAnswer() if life.archived is None else _remembered(life.archived)
    return RequestAnswer(
        operation_id=what.operation_id,
        correlation_id=what.correlation_id,
        state=life.state,
        outcome=life.outcome,
        verdict=what.verdict,
        error=_refusal(life.refused),
    )


def _remembered(kept: journal.Archived) -> RequestAnswer:
    """The reply to a request whose operation is in an archive: it is not run again."""
    return RequestAnswer(
        operation_id=kept.operation_id, correlation_id=kept.correlation_id, state="archived", outcome=kept.outcome
    )


def _refusal(refused: journal.Refused | None) -> Failure | None:
    return None if refused is None else Failure(code=refused.code, message=refused.message)
