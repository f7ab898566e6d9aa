"""The end of a request by policy's decision."""

from writ_contracts.decisions import Decision
from writ_contracts.people.approvals import can_be_met
from writ_executor.requests.attempt import CheckedAttempt


def denial_of(attempt: CheckedAttempt, decision: Decision) -> tuple[str, str] | None:
    """Return code and reason where the decision ends the request: a deny, or approvals nobody can give."""
    if decision.effect == "deny":
        return decision.code, decision.reason
    if decision.effect == "require_approval" and not attempt.request.dry_run and not _can_be_approved(decision):
        return "approval_unavailable", decision.reason
    return None


def _can_be_approved(decision: Decision) -> bool:
    """Return true if there are people to wait for."""
    return bool(decision.demands and decision.could_approve) and can_be_met(decision.demands)
