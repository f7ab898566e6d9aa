"""Record that a principal read records of others by policy's permission. The event is stored before the reply is
sent.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from writ_audit.read_quota import ReadQuota
from writ_bus import tracing
from writ_bus.port import Entry, Journal
from writ_contracts import subjects
from writ_contracts.errors import Conflict, Unreachable
from writ_contracts.journal import RecordRead
from writ_contracts.signing import Signed
from writ_contracts.wire import canonical, encode

AGAIN = 60.0
"""The same query of the same principal within so many seconds counts as one read."""
MOST_REMEMBERED = 1_000
ATTEMPTS = 8


class RecordedReads:
    """Appends a `record_read` event for a read of the record."""

    def __init__(self, journal: Journal, clock: Callable[[], float], quota: ReadQuota) -> None:
        """Record into `journal`. `clock` returns the time of the journal's server."""
        self._journal = journal
        self._clock = clock
        self._quota = quota
        self._recent: dict[bytes, float] = {}

    async def record(self, principal: str, query: dict[str, Any], decision: Signed, sought: Sequence[str] = ()) -> None:
        """Record a read, unless the same one was recorded within `AGAIN` seconds. Raises the errors of the append,
        Unreachable (`not_stored`) where NATS stores nothing, and Full if the principal's share of the journal is used
        up.

        `sought`: the parameters by whose values it searches.
        """
        key = canonical([principal, query, sought])
        now = time.monotonic()
        if now - self._recent.get(key, float("-inf")) < AGAIN:
            return
        await self._quota.check(principal)
        event = RecordRead(
            **tracing.stamp(self._clock()), principal=principal, query=query, decision=decision, sought=list(sought)
        )
        self._quota.add(principal, await self._append(event))
        if len(self._recent) >= MOST_REMEMBERED:
            self._recent.clear()
        self._recent[key] = now

    async def _append(self, event: RecordRead) -> int:
        subject = subjects.record_read(event.principal)
        for _ in range(ATTEMPTS):
            last = await self._journal.last(subject)
            expected = last.sequence if last else 0
            data = encode(event)
            entry = Entry(subject=subject, data=data, event_id=event.id, filter=subject, expected=expected)
            try:
                await self._journal.append(entry)
            except Conflict:
                continue
            except Unreachable as error:
                if error.code != "not_stored":
                    raise
                raise Unreachable(
                    f"this read cannot be recorded, so its results are not shown: {error}", code=error.code
                ) from error
            return len(data)
        raise Conflict(f"{ATTEMPTS} others wrote {subject} first")
