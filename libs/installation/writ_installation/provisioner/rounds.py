"""Rounds of the loop that makes NATS equal to the files; others may request one now, and see whether it succeeded."""

import asyncio
import time

APART = 0.5
"""Seconds between two rounds: a reload of NATS may lose replies under way, so that many changes share one."""


class Rounds:
    """One loop calls `pause`, `begin` and `done`; others call `request`."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()
        self._requested = 0
        self._done = 0
        self._begun = float("-inf")

    async def pause(self, seconds: float) -> None:
        """Wait for that long, or until a round is requested and is due."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(max(self._begun + APART - time.monotonic(), 0.0))

    def begin(self) -> int:
        """Return the number of the round that begins: it includes every request until now."""
        self._wake.clear()
        self._begun = time.monotonic()
        return self._requested

    def done(self, number: int) -> None:
        """Note the success of the round of that number."""
        self._done = max(self._done, number)

    def request(self) -> int:
        """Have a round begin now; return its number."""
        self._requested += 1
        self._wake.set()
        return self._requested

    def is_done(self, number: int) -> bool:
        """Return whether a round has succeeded that began after the request of that number."""
        return self._done >= number
