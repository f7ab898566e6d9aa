"""The end of a call while NATS does not reply: within seconds, and with the reason."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from writ_bus import tasks
from writ_bus.errors import BusError
from writ_bus.port import Bus
from writ_contracts.errors import TimedOut, Unreachable

PAUSE = 1.0
SILENT_SECONDS = 6.0
"""A restart of NATS takes less, and so does 1 MB of parameters, which a ping waits for, at 200 KB/s."""
SHORTEST = 0.1
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
    while heard + SILENT_SECONDS - loop.time() > SHORTEST:
        await asyncio.sleep(PAUSE)
        if await _replies(bus, max(heard + SILENT_SECONDS - loop.time(), SHORTEST)):
            heard = loop.time()
    limit.reschedule(loop.time())


async def _replies(bus: Bus, within: float) -> bool:
    """Return whether NATS replies; without a connection at once."""
    try:
        await bus.ping(within)
    except BusError:
        return False
    return True
