"""Heartbeats: report this instance and its operations to every executor, at an interval and soon after any change."""

import asyncio
from collections.abc import Callable

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.agents import Heartbeat
from writ_contracts.errors import WritError
from writ_contracts.wire import encode
from writ_runtime.logs import Log

CLOSEST = 0.2
SOONER = (0.5, 1.0, 2.0)
_log = Log("writ.agent")


class Heartbeats:
    """Sends a heartbeat each `interval` seconds, and at once after `changed`, but at most each 0.2 s."""

    def __init__(self, bus: Bus, interval: float, read: Callable[[], Heartbeat]) -> None:
        """`read` returns the present heartbeat."""
        self._bus = bus
        self._interval = interval
        self._read = read
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Note the begin or end of an operation."""
        self._changed.set()

    async def run(self) -> None:
        """Send until cancelled; more often at first, since executors may start at the same time and must receive
        one.
        """
        first = iter(SOONER)
        while True:
            await self.send()
            await asyncio.sleep(CLOSEST)
            try:
                async with asyncio.timeout(min(next(first, self._interval), self._interval) - CLOSEST):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def send(self) -> None:
        """Send one heartbeat. A missing listener is no error: the next one follows."""
        self._changed.clear()
        heartbeat = self._read()
        try:
            await self._bus.publish(subjects.heartbeat(heartbeat.pool), encode(heartbeat))
        except WritError as error:
            _log.debug("agent.heartbeat_lost", error=str(error))
