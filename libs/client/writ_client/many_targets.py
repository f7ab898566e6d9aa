"""One call on many targets at once, each with its own result or error.

ended = await on_targets(["web-1", "web-2"], lambda target: writ.services.restart(target, "nginx"))
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from writ_client.refused_arguments import distinct, refuse_below_one
from writ_contracts.errors import WritError

Found = TypeVar("Found")
AT_ONCE = 16


async def on_targets(
    targets: Iterable[str], call: Callable[[str], Awaitable[Found]], *, at_once: int = AT_ONCE
) -> dict[str, Found | WritError]:
    """Return the call's result, or its WritError, by target; at most `at_once` run at a time. Raises Invalid for a text
    in place of a list of targets, and for `at_once` below 1.
    """
    names = distinct(targets)
    refuse_below_one(at_once=at_once)
    turns = asyncio.Semaphore(at_once)

    async def one(target: str) -> Found | WritError:
        async with turns:
            try:
                return await call(target)
            except WritError as error:
                return error

    return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))
