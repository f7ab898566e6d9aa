"""The ping of an engine."""

import asyncio

from writ_containers.engine.engine_errors import translated
from writ_containers.engine.http_client import aiohttp
from writ_contracts.errors import TimedOut

PING_SECONDS = 3.0


async def is_unanswered(session: "aiohttp.ClientSession", base: str) -> bool:
    """Return whether an engine does not reply to GET /_ping within `PING_SECONDS`. Raises WritError."""
    try:
        with translated():
            async with asyncio.timeout(PING_SECONDS), session.get(f"{base}/_ping"):
                return False
    except (TimeoutError, TimedOut):
        return True
