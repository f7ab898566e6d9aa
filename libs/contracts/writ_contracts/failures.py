"""Conversion of a code on the wire back to the class of error a caller handles.

An unknown code becomes a plain WritError with the same code: a newer service must not break an older client.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NoReturn

from writ_contracts import errors
from writ_contracts.requests import Failure, Problem

_BY_CODE: Mapping[str, type[errors.WritError]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "invalid",
                "oversize",
                "unknown_operation",
                "unknown_target",
                "no_principal",
                "invalid_parameters",
                "unsupported",
                "not_declared",
                "not_found",
                "not_cancellable",
                "too_much",
                "invalid_document",
            ),
            errors.Invalid,
        ),
        **dict.fromkeys(
            (
                "denied",
                "no_rule",
                "rule_error",
                "dry_run_disabled",
                "policy_inactive",
                "outside_gateway_limits",
                "approval_unavailable",
                "not_approver",
                "preview_missing",
                "too_many_sessions",
                "preview_incomplete",
                "stale",
                "stopped",
                "principal_disabled",
                "lock_out",
                "no_window",
                "window_over",
                "plugin_mismatch",
            ),
            errors.Denied,
        ),
        **dict.fromkeys(
            (
                "bad_approval",
                "bad_directory",
                "bad_signature",
                "proof_too_weak",
                "signature_required",
                "unknown_principal",
                "key_mismatch",
                "session_expired",
            ),
            errors.Untrusted,
        ),
        **dict.fromkeys(("conflict", "decided", "gone"), errors.Conflict),
        **dict.fromkeys(("unavailable", "behind", "not_stored", "policy_silent"), errors.Unreachable),
        "timeout": errors.TimedOut,
        **dict.fromkeys(("full", "rate_limited", "too_many_open", "busy"), errors.Full),
    }
)

PASSING = frozenset({"unavailable", "behind", "timeout"})
"""Failures that pass within seconds: worth another try with the same key."""
FAILED = PASSING | {"internal", "damaged"}
"""Codes of a defect or an absent peer. Every other code is a correct refusal."""
LONGEST_MESSAGE = 1_000


def outcome_of(code: str) -> Literal["refused", "failed"]:
    """Return the outcome of a reply with this error, for every service's metrics."""
    return "failed" if code in FAILED else "refused"


def passes(failure: Failure | None) -> bool:
    """Return whether the error of a reply passes within seconds by itself."""
    return failure is not None and failure.retry and failure.code in PASSING


def failure_of(error: errors.WritError) -> Failure:
    """Return the error in its wire form; a longer message is cut."""
    found = [Problem(line=line, column=column, message=text) for line, column, text in getattr(error, "problems", ())]
    return Failure(code=error.code, message=str(error)[:LONGEST_MESSAGE], retry=error.retry, problems=found)


def error_of(failure: Failure) -> errors.WritError:
    kind = _BY_CODE.get(failure.code, errors.WritError)
    if kind is errors.Invalid:
        found = [(one.line, one.column, one.message) for one in failure.problems]
        return errors.Invalid(failure.message or failure.code, code=failure.code, problems=found)
    return kind(failure.message or failure.code, code=failure.code)


def raise_for(answer: Any) -> None:
    """Raise the error of a reply, if it has one."""
    if answer.error is not None:
        fail(answer.error)


def fail(failure: Failure) -> NoReturn:
    """Raise the error of a failure on the wire."""
    raise error_of(failure)
