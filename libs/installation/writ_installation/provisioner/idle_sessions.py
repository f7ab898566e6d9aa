"""The idle limit of sessions: NATS knows when a connection by their keys last sent something."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from writ_trust.sessions import Session

IdleSeconds = Callable[[str], Awaitable[float | None]]


class IdleSessions:
    """The last use of each session. One that is new here counts as used just now, so that a restart ends none."""

    def __init__(self) -> None:
        self._used: dict[str, float] = {}

    def due(self, sessions: Iterable[Session], now: float) -> list[Session]:
        """Return those not known to have been used within their limit. `now`: on a clock that nobody sets."""
        limited = [one for one in sessions if one.idle]
        self._used = {one.id: self._used.get(one.id, now) for one in limited}
        return [one for one in limited if now - self._used[one.id] >= one.idle]

    async def ended(self, due: Iterable[Session], now: float, idle_seconds: IdleSeconds) -> list[Session]:
        """Return the sessions idle for too long. `idle_seconds` queries the servers about a key."""
        request = list(due)
        found = await asyncio.gather(*(idle_seconds(one.key) for one in request))
        for one, idle in zip(request, found, strict=True):
            if idle is not None:
                self._used[one.id] = max(self._used[one.id], now - idle)
        return [one for one in request if now - self._used[one.id] >= one.idle]
