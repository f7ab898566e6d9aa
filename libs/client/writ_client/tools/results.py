"""Results as plain dictionaries, with the keys of the high-level tools. Pure functions.

`status` is the outcome of an operation, or `pending`, `running` or `awaiting_approval` while it has none.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from writ_client.operations.operation_wait import RecordedRequest
from writ_contracts.errors import WritError
from writ_contracts.life import State
from writ_contracts.policy.questions import EvalRequest, EvalResult, Explanation
from writ_contracts.requests import OperationView, SimulateReply, Verdict

Result = dict[str, Any]

STATUS: Mapping[str, str] = MappingProxyType(
    {
        State.REQUESTED: "pending",
        State.AWAITING_APPROVAL: "awaiting_approval",
        State.APPROVED: "pending",
        State.DISPATCHED: "pending",
        State.STARTED: "running",
        State.CANCELLING: "running",
    }
)
OPEN_STATUSES = tuple(sorted(set(STATUS.values())))


def status_of(state: str, outcome: str | None) -> str:
    """Return the outcome, or how far an operation without one has come."""
    return outcome or STATUS.get(state, state)


def operation_result(view: OperationView) -> Result:
    """Return the present state of one operation. While it is open, `message` is the reason for which it waits."""
    return {
        "status": status_of(view.state, view.outcome),
        "operation_id": view.operation_id,
        "operation_type": view.operation,
        "target_id": view.target,
        "requested_by": view.principal,
        "correlation_id": view.correlation_id,
        "dry_run": view.dry_run,
        "code": view.code,
        "message": view.message or (view.waiting.text if view.waiting else ""),
        "parameters": view.parameters,
        "rules": view.rules,
        "output": view.output,
    }


def request_result(requested: RecordedRequest, operation_type: str, target_id: str) -> Result:
    """Return the state or outcome of a request, with the decision on it."""
    answer = requested.answer
    judged = {"policy_evaluation": verdict_result(answer.verdict)} if answer.verdict is not None else {}
    if requested.view is not None:
        return operation_result(requested.view) | judged
    error = answer.error
    return {
        "status": status_of(answer.state, answer.outcome),
        "operation_id": requested.operation_id,
        "operation_type": operation_type,
        "target_id": target_id,
        "correlation_id": answer.correlation_id or "",
        "code": error.code if error else "",
        "message": error.message if error else "",
        **judged,
    }


def verdict_result(verdict: Verdict) -> Result:
    """Return a decision in short."""
    return {
        "decision": verdict.decision,
        "reason": verdict.reason,
        "code": verdict.code,
        "rules": verdict.rules,
        "policy": verdict.policy,
    }


def simulation_result(answer: SimulateReply, operation_type: str, target_id: str) -> Result:
    """Return the decision the caller's own request would get."""
    verdict = answer.verdict or Verdict(decision="deny", rules=[], reason="no verdict", code="internal")
    return {
        "policy_evaluation": verdict_result(verdict),
        "operation_type": operation_type,
        "target_id": target_id,
        "parameters": answer.parameters,
        "hidden": answer.hidden,
        "trace": answer.trace,
        **forecast(answer),
    }


def forecast(answer: SimulateReply) -> Result:
    """Return what would become of an accepted operation. `found_at`: when its agent found the cause on the host."""
    return {
        "waiting": answer.waiting.text if answer.waiting else "",
        "would_fail": msgspec.to_builtins(answer.fails),
    }


def refusal(error: WritError) -> Result:
    """Return the same of a request that would be refused before a decision."""
    return {"waiting": "", "would_fail": {"code": error.code, "message": str(error), "found_at": None}}


def explanation_result(found: Explanation) -> Result:
    """Return a decision with its explanation; `policy_evaluation` as in a simulation."""
    explanation = msgspec.to_builtins(found)
    judged = {key: explanation.pop(key) for key in ("decision", "reason", "code", "rules", "policy")}
    return {
        "policy_evaluation": judged,
        "operation_type": explanation.pop("operation"),
        "target_id": explanation.pop("target"),
        "requested_by": explanation.pop("principal"),
        **explanation,
    }


def evaluation_result(request: EvalRequest, found: EvalResult) -> Result:
    """Return one line of a scenario."""
    return {
        "operation_type": request.operation,
        "target_id": request.target,
        "requested_by": request.principal,
        "at": request.at,
        "policy_evaluation": {"decision": found.decision, "reason": found.reason, "rules": found.rules},
    }
