"""Processes that are added while others run: each stands alone. At the start of an installation all must be ready."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from writ_installation.processes import installed_distributions
from writ_installation.processes.child import Child


async def start_each(
    children: Sequence[Child],
    start: Callable[[Child], Awaitable[None]],
    stop: Callable[[list[Child]], Awaitable[None]],
) -> None:
    """Start all of them, and `stop` those that end. A slow one goes on. Raises ExceptionGroup of all failures."""

    async def started(child: Child) -> None:
        installed_distributions.require([child.service.argv])
        await start(child)

    ends = await asyncio.gather(*map(started, children), return_exceptions=True)
    failures = [end for end in ends if end is not None]
    await stop([child for child, end in zip(children, ends, strict=True) if end is not None and child.pid is None])
    if failures:
        raise BaseExceptionGroup("processes that were added", failures)
