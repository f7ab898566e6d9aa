"""Waiting for what another process will do, bounded in time: the one place in the tests that looks again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T | None]], *, within: float = 60.0, what: str = "it") -> T:
    """What `look` gives once that is true, which an empty list is not; AssertionError if it isn't in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while True:
        found = await look()
        if found:
            return found
        if loop.time() > end:
            raise AssertionError(f"{what} did not happen within {within:g} s")
        await asyncio.sleep(0.03)
