"""From the code on the wire back to the class of error that a caller handles.

An unknown code becomes a plain WritError with that code: a newer service must not break an older client.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from writ_contracts import errors
from writ_contracts.requests import Failure

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
                "stopped",
            ),
            errors.Denied,
        ),
        **dict.fromkeys(("bad_signature", "signature_required", "unknown_principal", "key_mismatch"), errors.Untrusted),
        **dict.fromkeys(("conflict", "gone"), errors.Conflict),
        **dict.fromkeys(("unavailable", "behind"), errors.Unreachable),
        "timeout": errors.TimedOut,
        **dict.fromkeys(("full", "rate_limited", "too_many_open"), errors.Full),
    }
)

PASSING = frozenset({"unavailable", "behind", "timeout"})
"""Failures that pass within seconds: worth another try with the same key."""


def error_of(failure: Failure) -> errors.WritError:
    """Return the error of a failure on the wire."""
    kind = _BY_CODE.get(failure.code, errors.WritError)
    return kind(failure.message or failure.code, code=failure.code)


def raise_for(answer: Any) -> None:
    """Raise the error of a reply, if it has one."""
    if answer.error is not None:
        fail(answer.error)


def fail(failure: Failure) -> NoReturn:
    """Raise the error of a failure on the wire."""
    raise error_of(failure)
