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
MOST_PROBED = 1000
SHORTEST_LOOK = 0.5
"""Seconds for a read that begins when the time is over."""


class LastSeen(NamedTuple, Generic[Seen]):
    """The last answer, None without one, and whether nothing can change it any more."""

    seen: Seen | None
    is_certain: bool


class AnsweredSeconds:
    """For how long an engine has answered, over one or more waits. An error sets it back to none."""

    def __init__(self) -> None:
        self.total = 0.0
        self._last: float | None = None

    def begin(self) -> None:
        """Begin a wait. The time between two waits does not count."""
        self._last = None

    def answered(self) -> None:
        """Add the time since the answer before."""
        now = time.monotonic()
        self.total += 0.0 if self._last is None else now - self._last
        self._last = now

    def failed(self) -> None:
        self.total, self._last = 0.0, None


class AnsweredProbes:
    """For how long an engine has answered probes without an effect, by attempt of an operation. So a wait that is
    longer than one probe ends with a later one.
    """

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, int], AnsweredSeconds] = {}

    def of(self, operation_id: str, attempt: int) -> AnsweredSeconds:
        """Return those of this attempt, which are kept for the next probe."""
        if (operation_id, attempt) not in self._seconds and len(self._seconds) >= MOST_PROBED:
            del self._seconds[next(iter(self._seconds))]
        return self._seconds.setdefault((operation_id, attempt), AnsweredSeconds())

    def forget(self, operation_id: str, attempt: int) -> None:
        """Forget them: the operation sends new requests, or its probe has ended."""
        self._seconds.pop((operation_id, attempt), None)


async def observe_late(
    look: Callable[[], Awaitable[Seen]],
    has_effect: Callable[[Seen], bool],
    seconds: float,
    until: float,
    answers: AnsweredSeconds | None = None,
) -> LastSeen[Seen]:
    """Look until the effect is there, or until the engine has answered for `seconds`, those of former waits included.
    Return the last answer. It is not certain if `until` (monotonic seconds) comes first, which also ends a read that
    takes too long.
    """
    seen: Seen | None = None
    answers = answers or AnsweredSeconds()
    answers.begin()
    while True:
        try:
            async with asyncio.timeout(max(until - time.monotonic(), SHORTEST_LOOK)):
                seen = await look()
        except TimeoutError:
            return LastSeen(seen, False)
        except WritError:
            seen = None
            answers.failed()
        else:
            if has_effect(seen):
                return LastSeen(seen, True)
            answers.answered()
            if answers.total >= seconds:
                return LastSeen(seen, True)
        if time.monotonic() + PAUSE > until:
            return LastSeen(seen, False)
        await asyncio.sleep(PAUSE)
