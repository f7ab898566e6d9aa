"""The exit statuses of `writ`, for scripts: one for each case of a different next step.

0 done · 1 failed · 2 usage or invalid · 3 denied · 4 pending, or timed out waiting · 5 rejected, expired, cancelled or
stale · 6 unreachable or unauthorised · 7 unknown: it may have run
"""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from writ_bus.errors import Forbidden
from writ_contracts import errors
from writ_contracts.errors import ConfigError


class Exit(IntEnum):
    """The exit statuses, as the module lists them."""

    DONE = 0
    FAILED = 1
    INVALID = 2
    DENIED = 3
    PENDING = 4
    ENDED_UNDONE = 5
    UNREACHABLE = 6
    UNKNOWN = 7


_BY_OUTCOME: Mapping[str | None, Exit] = MappingProxyType(
    {
        None: Exit.PENDING,
        "succeeded": Exit.DONE,
        "previewed": Exit.DONE,
        "failed": Exit.FAILED,
        "invalid": Exit.INVALID,
        "denied": Exit.DENIED,
        "rejected": Exit.ENDED_UNDONE,
        "expired": Exit.ENDED_UNDONE,
        "cancelled": Exit.ENDED_UNDONE,
        "stale": Exit.ENDED_UNDONE,
        "unknown": Exit.UNKNOWN,
    }
)

_BY_DECISION: Mapping[str, Exit] = MappingProxyType(
    {"allow": Exit.DONE, "require_approval": Exit.PENDING, "deny": Exit.DENIED}
)

_BY_ERROR: tuple[tuple[type[Exception], Exit], ...] = (
    (Forbidden, Exit.UNREACHABLE),
    (errors.Untrusted, Exit.UNREACHABLE),
    (errors.Unreachable, Exit.UNREACHABLE),
    (errors.Full, Exit.UNREACHABLE),
    (errors.Denied, Exit.DENIED),
    (errors.Invalid, Exit.INVALID),
    (errors.Conflict, Exit.INVALID),
    (errors.TimedOut, Exit.PENDING),
    (ConfigError, Exit.INVALID),
    (errors.WritError, Exit.FAILED),
    (OSError, Exit.FAILED),
)
"""The first match counts; a Forbidden is a Denied too, but there the key lacks a permission and no rule denies."""


def of_outcome(outcome: str | None) -> Exit:
    """Return the status for an operation with this outcome; an outcome of a newer Writ is `unknown`."""
    return _BY_OUTCOME.get(outcome, Exit.UNKNOWN)


def of_decision(word: str) -> Exit:
    """Return the status of a decision: of a simulation, or of `run` without another error."""
    return _BY_DECISION.get(word, Exit.INVALID)


def of_simulation(word: str, *, fails: bool) -> Exit:
    """Return the status with which `run` would end. `fails`: the operation would fail, as far as is known before."""
    return Exit.FAILED if fails and word == "allow" else of_decision(word)


def of_error(error: Exception) -> Exit:
    return next((status for kind, status in _BY_ERROR if isinstance(error, kind)), Exit.FAILED)
