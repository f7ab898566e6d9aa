"""The reconcile loop of `writ up` and of the provisioner: apply the files when they change, until it succeeds.

Others request a round, and see whether one has succeeded since.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from writ_bus.errors import BusError
from writ_contracts.errors import ConfigError, Unreachable
from writ_installation.processes.child import LOG_FOLLOWS

RETRIED = (BusError, ConfigError, Unreachable, OSError, ExceptionGroup)
"""Failures of the files, the server or a process. Any other error is a defect and ends the loop."""
CHECK_SECONDS = 0.5
"""Seconds between two rounds without a change."""
LOOK_SECONDS = 0.2
"""Seconds between two looks at the files: a removed key is good for that long, and until NATS is reloaded."""
APART = 0.4
"""Seconds between two changes of NATS: a reload may lose replies under way, so that many changes share one."""


class Rounds:
    """The loop calls `requested`, `begin` and `done`; others call `request`."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()
        self._requested = 0
        self._done = 0

    async def requested(self, within: float) -> bool:
        """Wait this long, or until a round is requested; return whether one is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._wake.wait()
        return self._wake.is_set()

    def begin(self) -> int:
        """Return the number of the new round: it includes every request until now."""
        self._wake.clear()
        return self._requested

    def done(self, number: int) -> None:
        """Note the success of the round of this number."""
        self._done = max(self._done, number)

    def request(self) -> int:
        """Have a round begin now; return its number."""
        self._requested += 1
        self._wake.set()
        return self._requested

    def is_done(self, number: int) -> bool:
        """Return whether a round has succeeded that began after the request of that number."""
        return self._done >= number


class Reconciler:
    """Applies the files in rounds. A failure stands, and is retried in each round, until an attempt succeeds."""

    def __init__(
        self,
        rounds: Rounds,
        files: Callable[[], object],
        apply: Callable[[], Awaitable[None]],
        report: Callable[[Exception | None, bool], None],
        applied: object = None,
    ) -> None:
        """`files`: a value that changes with the files; `applied`: its value when they were applied last.

        `report` gets each success as None, and each failure; and whether that differs from the one before.
        """
        self._rounds = rounds
        self._files = files
        self._apply = apply
        self._report = report
        self._applied = applied
        self._failure = ""
        self._begun = float("-inf")

    async def pause(self, seconds: float) -> None:
        """Wait this long, or until a round is requested or the files change."""
        end = time.monotonic() + seconds
        while not await self._rounds.requested(min(LOOK_SECONDS, seconds)):
            if self._files() != self._applied or time.monotonic() >= end:
                return

    async def round(self) -> None:
        """Apply the files if they changed, or if the last attempt failed, APART seconds after that one."""
        number, files = self._rounds.begin(), self._files()
        if self._failure or files != self._applied:
            if early := max(self._begun + APART - time.monotonic(), 0.0):
                await asyncio.sleep(early)
                number, files = self._rounds.begin(), self._files()
            self._begun = time.monotonic()
            try:
                await self._apply()
            except RETRIED as error:
                self._fail(error)
                return
            self._applied, self._failure = files, ""
            self._report(None, True)
        self._rounds.done(number)

    def _fail(self, error: Exception) -> None:
        before, self._failure = self._failure, _without_logs(error)
        self._report(error, self._failure != before)


def failure_text(failure: Exception) -> str:
    """Return the sentence about a failed round."""
    if isinstance(failure, ConfigError):
        return f"no change was applied, since a file has an error: {failure}"
    return f"a change could not be applied, trying again: {_reason(failure)}"


def _without_logs(error: Exception) -> str:
    """Return the text of the error without the ends of logs in it, which differ from one attempt to the next."""
    if isinstance(error, ExceptionGroup):
        return " ".join(map(_without_logs, error.exceptions))
    return repr(error).partition(LOG_FOLLOWS)[0]


def _reason(error: Exception) -> str:
    if isinstance(error, ExceptionGroup):
        return "\n".join(dict.fromkeys(map(_reason, error.exceptions)))
    return str(error)
