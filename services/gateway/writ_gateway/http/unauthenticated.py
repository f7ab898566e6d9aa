"""Requests without a valid token in the log, by their address: one line at once, then one a minute."""

import asyncio
import logging
from collections import Counter

from writ_runtime.logs import Log

QUIET_SECONDS = 60.0
MOST_ADDRESSES = 20
OTHERS = "others"
"""In place of further addresses: a stranger may have as many as they like."""
_log = Log("writ.gateway")


class UnauthenticatedRequests:
    """Counts them between two lines."""

    def __init__(self, level: int = logging.WARNING, quiet: float = QUIET_SECONDS) -> None:
        self._level = level
        self._quiet = quiet
        self._since: Counter[str] | None = None
        """The requests by address since the last line; None if there was no line for a while."""

    def note(self, address: str) -> None:
        """Log one, or count it for the next line."""
        if self._since is None:
            self._line(Counter([address]))
        else:
            known = address in self._since or len(self._since) < MOST_ADDRESSES
            self._since[address if known else OTHERS] += 1

    def _line(self, addresses: Counter[str]) -> None:
        fields = {"requests": addresses.total(), "addresses": dict(addresses)}
        _log.write(self._level, "gateway.unauthenticated", fields)
        self._since = Counter()
        asyncio.get_running_loop().call_later(self._quiet, self._next)

    def _next(self) -> None:
        further, self._since = self._since, None
        if further:
            self._line(further)
