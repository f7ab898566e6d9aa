"""Calls of a backend, bounded in time, which cannot cancel their caller."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from writ_bus import tasks

T = TypeVar("T")


class BackendCancelled(Exception):
    """Raised where something that a backend awaits was cancelled, and the call was not: a defect of the backend."""


async def bounded(seconds: float | None, call: Awaitable[T]) -> T:
    """Return the result of the call. Raises TimeoutError after `seconds`, BackendCancelled, and the backend's errors.

    A CancelledError from within the call would end the task of the caller as if somebody had cancelled it: no handler
    of errors sees it, and the operation would get no receipt.
    """
    try:
        async with asyncio.timeout(seconds):
            return await call
    except asyncio.CancelledError as error:
        if tasks.is_cancelled():
            raise
        raise BackendCancelled("the backend awaits something that was cancelled") from error
