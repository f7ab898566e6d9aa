"""Tasks beside another one, ending with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from writ_bus import tasks
from writ_runtime.signals import StopSignal


@asynccontextmanager
async def companion_task(work: Coroutine[Any, Any, None] | None) -> AsyncIterator[None]:
    """Run `work` while the block runs."""
    task = tasks.spawn(work, "companion") if work is not None else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def unless(stop: StopSignal, starting: Coroutine[Any, Any, None]) -> None:
    """Run `starting` to its end, or cancel it when a stop is requested."""
    work = tasks.start(starting, "start")
    stopped = tasks.start(stop.wait(), "stop")
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            try:
                work.result()
            except ExceptionGroup as group:
                raise group.exceptions[0] from group
    finally:
        for task in (work, stopped):
            task.cancel()
        await asyncio.gather(work, stopped, return_exceptions=True)
