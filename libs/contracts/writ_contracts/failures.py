"""From the code that came over the wire back to the class of error that a caller handles.

A code that nobody here knows becomes a plain WritError with that code: a newer service must not break an older client.
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
