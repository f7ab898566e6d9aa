"""Requests that the gateway refuses before they become a record: counted, and logged a few times a minute (ADR 131).

One misspelt name is nothing. Many refusals of one principal are an agent that looks for what it may do.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

from writ_contracts.errors import WritError
from writ_runtime.logs import Log

KINDS = (
    "unknown_tool",
    "unknown_operation",
    "unknown_target",
    "invalid_parameters",
    "for_people",
    "read_only",
    "token_limit",
    "key_mismatch",
    "not_found",
    "rate_limited",
    "other",
)
"""What was refused: codes of errors, and `unknown_tool`. `for_people`: an operation that no tool can request.
`rate_limited`: HTTP requests above the rate of their token, or above their principal's share.
"""
QUIET_SECONDS = 60.0
_log = Log("writ.gateway")

Count = Callable[[str, str], None]


def _uncounted(principal: str, kind: str) -> None:
    """A gateway on standard input and output has no metrics."""


class Refusals:
    """The refusals of all principals of one gateway. `count` gets principal and kind of each."""

    def __init__(self, count: Count = _uncounted, quiet: float = QUIET_SECONDS) -> None:
        self._count = count
        self._quiet = quiet
        self._since: dict[str, Counter[str]] = {}
        """The refusals of a principal since its last line in the log."""

    def refused(self, principal: str, error: WritError, tool: str, operation: str = "") -> None:
        """Note an error by its code. `operation`: a name of the catalogue, or nothing."""
        named = {"tool": tool} | ({"operation": operation} if operation else {})
        self.note(principal, error.code if error.code in KINDS else "other", **named)

    def note(self, principal: str, kind: str, **fields: str) -> None:
        """Count one, and log it unless the principal had a line in the last minute: then the next line counts it."""
        self._count(principal, kind)
        if principal in self._since:
            self._since[principal][kind] += 1
            return
        _log.warning("gateway.refused", principal=principal, kind=kind, **fields)
        self._wait(principal)

    def _wait(self, principal: str) -> None:
        self._since[principal] = Counter()
        asyncio.get_running_loop().call_later(self._quiet, self._log_further, principal)

    def _log_further(self, principal: str) -> None:
        if self._log_rest(principal):
            self._wait(principal)

    def close(self) -> None:
        """Log at the end of the gateway what waits for a line."""
        for principal in [*self._since]:
            self._log_rest(principal)

    def _log_rest(self, principal: str) -> bool:
        """Return whether there were refusals since the last line."""
        further = self._since.pop(principal, None)
        if further:
            _log.warning("gateway.refused_further", principal=principal, seconds=self._quiet, kinds=dict(further))
        return bool(further)
