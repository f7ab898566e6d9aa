"""From the code that came over the wire back to the class of error that a caller handles.

A code that nobody here knows becomes a plain WritError with that code: a newer service must not break an older client.
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
                "invalid_parameters",
                "unsupported",
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
                "stale",
                "stopped",
            ),
            errors.Denied,
        ),
        **dict.fromkeys(
            ("bad_approval", "bad_signature", "signature_required", "unknown_principal", "key_mismatch"),
            errors.Untrusted,
        ),
        **dict.fromkeys(("conflict", "decided", "gone"), errors.Conflict),
        **dict.fromkeys(("unavailable", "behind"), errors.Unreachable),
        "timeout": errors.TimedOut,
        **dict.fromkeys(("full", "rate_limited", "too_many_open"), errors.Full),
    }
)

PASSING = frozenset({"unavailable", "behind", "timeout"})
"""What goes away by itself within seconds: worth asking again with the same key."""
FAILED = PASSING | {"internal", "damaged"}
"""Codes of a defect or of a peer that is not there. Every other code refuses what should be refused."""
LONGEST_MESSAGE = 1_000


def outcome_of(code: str) -> Literal["refused", "failed"]:
    """What a reply with this error counts as, in every service's metrics."""
    return "failed" if code in FAILED else "refused"


def failure_of(error: errors.WritError) -> Failure:
    """The error as it crosses the wire; a longer message is cut."""
    found = [Problem(line=line, column=column, message=text) for line, column, text in getattr(error, "problems", ())]
    return Failure(code=error.code, message=str(error)[:LONGEST_MESSAGE], retry=error.retry, problems=found)


def error_of(failure: Failure) -> errors.WritError:
    """The error that a failure on the wire stands for."""
    kind = _BY_CODE.get(failure.code, errors.WritError)
    return kind(failure.message or failure.code, code=failure.code)


def raise_for(answer: Any) -> None:
    """Raises the error that an answer carries, if it carries one."""
    if answer.error is not None:
        fail(answer.error)


def fail(failure: Failure) -> NoReturn:
    """Raises the error that a failure on the wire stands for."""
    raise error_of(failure)
