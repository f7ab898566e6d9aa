"""The share of the journal that the recorded reads of one principal may take within an hour.

Each read of others' records is an event. Without a bound, a reader in a loop would fill the journal, and nothing could
be requested or ended any more. Each replica counts the reads that it records itself.
"""

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable

from writ_bus.port import Usage
from writ_contracts.errors import Full

SHARED_FROM = 0.5
"""Fill level of the journal from which the quota counts, as for what executors write."""
WINDOW, STEP = 3600.0, 60.0
"""Seconds: reads are counted within the window, by steps."""
USAGE_SECONDS = 5.0
"""The journal's size is requested again after this time."""


class ReadQuota:
    """Counts the bytes of recorded reads by principal."""

    def __init__(
        self, share: float, usage: Callable[[], Awaitable[Usage]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`share`: of the free part of the journal, for each principal. `usage` returns that of the journal."""
        self._share = share
        self._usage = usage
        self._clock = clock
        self._written: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self._known: Usage | None = None
        self._known_at = 0.0

    async def check(self, principal: str) -> None:
        """Raise Full if the principal's reads have used up its share. Raises the errors of `usage`."""
        used = self._used(principal)
        if not used:
            return
        usage = await self._usage_now()
        if usage.bytes < SHARED_FROM * usage.max_bytes:
            return
        limit = self._share * max(0, usage.max_bytes - usage.bytes)
        if used > limit:
            raise Full(
                f"principal {principal} has {used} bytes of the journal, written within an hour by reads of others'"
                f" records; at most {limit:.0f} are allowed (WRIT_JOURNAL_SHARE): wait, or archive the journal"
                " (`writ journal archive`)"
            )

    def add(self, principal: str, size: int) -> None:
        """Count one recorded read."""
        self._written[principal][int(self._clock() / STEP)] += size

    def _used(self, principal: str) -> int:
        if principal not in self._written:
            return 0
        first = int((self._clock() - WINDOW) / STEP)
        recent = {step: size for step, size in self._written.pop(principal).items() if step > first}
        if recent:
            self._written[principal] = defaultdict(int, recent)
        return sum(recent.values())

    async def _usage_now(self) -> Usage:
        if self._known is None or self._clock() - self._known_at >= USAGE_SECONDS:
            self._known, self._known_at = await self._usage(), self._clock()
        return self._known
