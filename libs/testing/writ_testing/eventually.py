"""Bounded waits for the actions of another process: the only place in the tests with polling."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(check: Callable[[], Awaitable[T | None]], *, within: float = 60.0, what: str = "it") -> T:
    """Return the first true result of `check` (an empty list is not); AssertionError if none comes in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while True:
        found = await check()
        if found:
            return found
        if loop.time() > end:
            raise AssertionError(f"{what} did not happen within {within:g} s")
        await asyncio.sleep(0.03)
