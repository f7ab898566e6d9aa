"""Waiting for what another process will do, bounded in time: the one place in the tests that looks again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T | None]], *, within: float = 20.0, what: str = "it") -> T:
    """What `look` gives once it gives something other than None or False; AssertionError if it doesn't in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while True:
        found = await look()
        if found is not None and found is not False:
            return found
        if loop.time() > end:
            raise AssertionError(f"{what} did not happen within {within:g} s")
        await asyncio.sleep(0.03)
