"""The end of a call while NATS does not reply: within seconds, and with the reason."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from writ_bus import tasks
from writ_bus.errors import BusError
from writ_bus.port import Bus
from writ_contracts.errors import TimedOut, Unreachable

PAUSE, PING_SECONDS = 1.0, 1.5
SILENT_SECONDS = 4.5
"""A restart of NATS takes less; a call ends about 5 s after the last reply."""
SILENT = (
    "NATS, by which all of Writ is reached, does not reply. The operator's `writ status` shows why. Try again later: "
    "the connection is made again by itself"
)


@asynccontextmanager
async def while_nats_replies(bus: Bus, *, effect: bool) -> AsyncIterator[None]:
    """Cut the block short once NATS is silent: raise Unreachable, or TimedOut if it may have had an `effect`."""
    limit = asyncio.timeout(None)
    try:
        async with limit:
            watching = tasks.spawn(_watch(bus, limit), "nats silence")
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        if not limit.expired():
            raise
        raise (TimedOut(SILENT) if effect else Unreachable(SILENT)) from None


async def _watch(bus: Bus, limit: asyncio.Timeout) -> None:
    loop = asyncio.get_running_loop()
    heard = loop.time()
    while loop.time() - heard < SILENT_SECONDS:
        await asyncio.sleep(PAUSE)
        if await _replies(bus):
            heard = loop.time()
    limit.reschedule(loop.time())


async def _replies(bus: Bus) -> bool:
    try:
        await bus.ping(PING_SECONDS)
    except BusError:
        return False
    return True
