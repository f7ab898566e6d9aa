"""Further attempts at a target out of reach: for reads, before a claim and after it. For an operation that changes
something there is one attempt after the claim, and its true result.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from msgspec import Meta

from writ_agent.backends.port import Task
from writ_bus.backoff import backoff
from writ_contracts.errors import Unreachable

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
Retries = Annotated[int, Meta(ge=0, le=100)]
"""`connect_retries` in the `connection` of a target."""
Result = TypeVar("Result")


def retry_seconds(task: Task, retries: int | None, connect_timeout: float) -> float:
    """Return the seconds in which a run may begin further attempts, which leave the last one the time to connect; 0
    for a change, and where the target's connection has no `connect_retries`.
    """
    return max(0.0, task.timeout - connect_timeout) if task.operation.read_only and retries else 0.0


async def retried(
    attempt: Callable[[], Awaitable[Result]],
    retries: int | None,
    seconds: float,
    waited: Callable[[], float] = lambda: 0.0,
) -> Result:
    """Return the result of the attempt. One that raises Unreachable is repeated up to `retries` times (None: any
    number), for `seconds`; then its error is raised. `waited`: seconds so far of the attempts that do not count.
    """
    until = time.monotonic() + seconds
    for made, pause in enumerate(backoff(first=FIRST_PAUSE, most=LONGEST_PAUSE)):
        try:
            return await attempt()
        except Unreachable:
            if made == retries or time.monotonic() + pause >= until + waited():
                raise
        await asyncio.sleep(pause)
    raise AssertionError("backoff never ends")
