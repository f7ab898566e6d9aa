"""NATS follows the files while the processes of an installation start and end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from writ_installation.provisioner.reconciler import APART, RETRIED


async def keep_admitted(
    adapt: Callable[[], Awaitable[object]], files: Callable[[], object], seconds: float, adapted: object
) -> None:
    """Call `adapt` whenever `files` differs from `adapted`, its value before NATS was adapted last, until cancelled.

    A process may take half a minute to start or to end, and a removed key must not stay good meanwhile. The next round
    applies the rest, and reports what fails here.
    """
    while True:
        await asyncio.sleep(seconds)
        if (now := files()) != adapted:
            with suppress(*RETRIED):
                await adapt()
                adapted = now
            await asyncio.sleep(APART)
