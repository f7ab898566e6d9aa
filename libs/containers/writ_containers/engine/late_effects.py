"""Look for the effect of a request whose reply was lost.

An engine that hung still has the request, and carries it out once it goes on, although its client has left. At that
moment it answers other requests too, so the first state that it shows is not the last one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from writ_contracts.errors import WritError

Seen = TypeVar("Seen")
CERTAIN_AFTER = 4.0
"""Seconds in which an engine that answers does what it still had to do, beyond the time to stop a container."""
PAUSE = 0.2
SHORTEST_LOOK = 0.5
"""Seconds for a look that begins when the time is over."""


class LastSeen(NamedTuple, Generic[Seen]):
    """The last answer, None without one, and whether nothing can change it any more."""

    seen: Seen | None
    is_certain: bool


async def observe_late(
    look: Callable[[], Awaitable[Seen]], has_effect: Callable[[Seen], bool], seconds: float, until: float
) -> LastSeen[Seen]:
    """Look until the effect is there, or until the engine has answered for `seconds`. The last answer is not certain if
    `until` (monotonic seconds) comes first, which also ends a look that takes too long.
    """
    seen: Seen | None = None
    since: float | None = None
    while True:
        try:
            async with asyncio.timeout(max(until - time.monotonic(), SHORTEST_LOOK)):
                seen = await look()
        except TimeoutError:
            return LastSeen(seen, False)
        except WritError:
            seen, since = None, None
        else:
            if has_effect(seen):
                return LastSeen(seen, True)
            since = time.monotonic() if since is None else since
            if time.monotonic() - since >= seconds:
                return LastSeen(seen, True)
        if time.monotonic() + PAUSE > until:
            return LastSeen(seen, False)
        await asyncio.sleep(PAUSE)
