"""Views for requesters: lives and decisions as answers. Pure."""

from msgspec import structs

from writ_contracts import journal
from writ_contracts.agents import Receipt
from writ_contracts.decisions import Decision
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.failures import failure_of
from writ_contracts.life import AcceptedLife, Life, RefusedLife
from writ_contracts.requests import Failure, RequestReply, Verdict
from writ_contracts.wire import canonical
from writ_executor.journal.hidden_values import RESULT_SECONDS
from writ_trust.statements import read

SPARE_SECONDS = 60.0
"""Before a kept output expires, so that one which has just expired is not reported as lost."""


def verdict(decision: Decision) -> Verdict:
    """Return a short form of the decision."""
    policy = f"{decision.policy.name}@{decision.policy.digest[:12]}"
    return Verdict(
        decision=decision.effect, rules=decision.rules, reason=decision.reason, code=decision.code, policy=policy
    )


def reply_of(life: Life) -> RequestReply:
    """Return the reply to the request of this operation, as it stands now."""
    what = life.what
    if what is None:
        return RequestReply()
    if isinstance(what, journal.Archived):
        return _remembered(what)
    return RequestReply(
        operation_id=what.operation_id,
        correlation_id=what.correlation_id,
        state=life.state,
        outcome=life.outcome,
        verdict=what.verdict,
        error=_refusal(life.refused) if isinstance(life, RefusedLife) else None,
    )


def _remembered(kept: journal.Archived) -> RequestReply:
    """Return the reply to a request whose operation is archived: it is not run again."""
    return RequestReply(
        operation_id=kept.operation_id, correlation_id=kept.correlation_id, state="archived", outcome=kept.outcome
    )


def _refusal(refused: journal.Refused) -> Failure:
    return Failure(code=refused.code, message=refused.message)


def lacks_output(life: Life, now: float) -> bool:
    """Return whether the record lacks a part of the output that should still be kept beside it. The agent's receipt
    says so, in every replica. `now`: the journal server's time.
    """
    ended = life.end if isinstance(life, AcceptedLife) else None
    if not isinstance(ended, journal.Finished | journal.Resolved) or ended.receipt is None:
        return False
    if now - ended.at > RESULT_SECONDS - SPARE_SECONDS:
        return False
    try:
        receipt = read(ended.receipt, Receipt)
    except Untrusted:  # in a form that only a newer release reads
        return False
    return receipt.output_bytes != len(canonical(receipt.output))


def with_problems(answered: RequestReply, error: Invalid) -> RequestReply:
    """Return the answer with the problems of the sent document. Its author reads them; the journal does not hold
    them.
    """
    if answered.error is None or not error.problems:
        return answered
    return structs.replace(answered, error=structs.replace(answered.error, problems=failure_of(error).problems))
