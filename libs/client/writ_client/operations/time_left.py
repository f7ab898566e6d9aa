"""The time that a caller gives to a call of several steps: each step gets what the steps before it left."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from writ_contracts.errors import TimedOut

NOT_REQUESTED = "nothing was changed or requested"
PROOF = "proof of presence"
SUBMIT_SECONDS = 30.0
"""The longest time for which a request is repeated until it is recorded, unless `submit` is given another."""


class TimeLeft:
    """The rest of `seconds`, counted from its creation. None: no limit. `text`: all of it, for people."""

    def __init__(self, seconds: float | None) -> None:
        self.text = "" if seconds is None else f"{round(seconds, 2):g} s"
        self._until = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float | None:
        """Return the rest in seconds, 0 when it is over; None without a limit."""
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)

    @property
    def for_submission(self) -> float:
        """Return the time in which a request has to be recorded, as part of a longer call."""
        return SUBMIT_SECONDS if self.left is None else min(self.left, SUBMIT_SECONDS)


class NotRequested(TimedOut):
    """Raised when the time was over before the request was sent."""


def time_left(timeout: float | TimeLeft | None) -> TimeLeft:
    """Return the rest of a time that has begun, or begin one of so many seconds."""
    return timeout if isinstance(timeout, TimeLeft) else TimeLeft(timeout)


@asynccontextmanager
async def before_the_request(within: TimeLeft, what: str = "reply") -> AsyncIterator[None]:
    """Bound the steps before a request, which wait for `what`. Raises NotRequested."""
    try:
        async with asyncio.timeout(within.left):
            yield
    except TimeoutError:
        raise NotRequested(f"no {what} in {within.text}; {NOT_REQUESTED}") from None
    except TimedOut as error:
        raise NotRequested(f"{error}; {NOT_REQUESTED}", code=error.code) from error
