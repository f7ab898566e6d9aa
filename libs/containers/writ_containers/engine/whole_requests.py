"""Requests that an engine carries out although their client has left: a cancel waits for their reply.

What an engine shows before its reply is not the end: a container may appear after its absence was confirmed.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from writ_bus import tasks
from writ_contracts.errors import TimedOut

T = TypeVar("T")
REPLY_SECONDS = 2.0
"""Seconds for the reply after a cancel. A second cancel ends the wait as well."""


async def answered(request: Coroutine[Any, Any, T]) -> T:
    """Return the reply. A cancel is raised once there is one, or its time is over. Raises the errors of the request."""
    running = tasks.start(request, "request to an engine")
    try:
        await asyncio.wait({running})
    except asyncio.CancelledError:
        await _has_reply(running)
        raise
    return running.result()


async def completed(request: Coroutine[Any, Any, T]) -> T:
    """Return the reply, also after a cancel: for the last step of an operation, which then has succeeded. Raises the
    errors of the request, and TimedOut (`connection_lost`) without a reply in time.
    """
    running = tasks.start(request, "request to an engine")
    try:
        await asyncio.wait({running})
    except asyncio.CancelledError as error:
        if not await _has_reply(running):
            raise TimedOut("the engine did not reply in time", code="connection_lost") from error
    return running.result()


async def _has_reply(running: asyncio.Task[Any]) -> bool:
    """Wait for the reply; without one the request's connection ends."""
    try:
        await asyncio.wait({running}, timeout=REPLY_SECONDS)
    finally:
        running.cancel()
    if running.done() and not running.cancelled():
        running.exception()  # retrieved, also where the caller raises its own cancel
    return running.done()
