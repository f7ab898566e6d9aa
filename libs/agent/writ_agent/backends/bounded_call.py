"""Calls of a backend, bounded in time, which can neither cancel their caller nor end its process."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from writ_bus import tasks

T = TypeVar("T")


class BackendCancelled(Exception):
    """Raised where something that a backend awaits was cancelled, and the call was not: a defect of the backend."""


class BackendExited(Exception):
    """Raised where a backend raises what no `except Exception` catches, such as SystemExit: a defect of the backend."""


async def contained(call: Awaitable[T]) -> T:
    """Return the result of the call. Raises BackendExited, CancelledError, and the backend's errors.

    asyncio ends the event loop at a task's SystemExit or KeyboardInterrupt. argparse and click, for example, raise
    SystemExit for arguments that they refuse.
    """
    try:
        return await call
    except (Exception, asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        raise BackendExited(f"the backend raised {type(error).__name__}: {error}"[:200]) from error


async def bounded(seconds: float | None, call: Awaitable[T]) -> T:
    """Return the result of the call. Raises TimeoutError after `seconds`, BackendCancelled, BackendExited, and the
    backend's errors.

    A CancelledError from within the call would end the task of the caller as if somebody had cancelled it: no handler
    of errors sees it, and the operation would get no receipt.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await contained(call)
    except TimeoutError as error:
        if str(error):
            raise
        # asyncio's has no text, and ends in logs as an empty reason
        late = f"no reply within {seconds:g} s" if limit.expired() else "the backend waited too long for a part of it"
        raise TimeoutError(late) from error
    except asyncio.CancelledError as error:
        if tasks.is_cancelled():
            raise
        raise BackendCancelled("the backend awaits something that was cancelled") from error
