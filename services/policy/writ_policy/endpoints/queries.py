"""The endpoints of principals' queries, each with a rate for one principal."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from writ_bus.port import Endpoint, Message
from writ_contracts.errors import Full
from writ_contracts.registry import channel
from writ_contracts.subjects import parse_query
from writ_runtime.buckets import Buckets
from writ_runtime.endpoint_frame import endpoint_handler
from writ_runtime.logs import Log
from writ_runtime.metrics import Observer

CONCURRENCY = 4
"""Queries of one kind that are worked on at once: decisions come first."""
RATE, BURST = 200.0, 400.0
"""Queries of one principal that are answered, a second and at once."""

_log = Log("writ.policy")


def endpoint(name: str, handler: Callable[[Message], Awaitable[Any]], observe: Observer, buckets: Buckets) -> Endpoint:
    """The query of that name in the registry, answered by the handler, which raises WritError; `buckets`: how many a
    second of one principal are answered.
    """
    query_channel = channel(name)

    async def within_rate(message: Message) -> Any:
        principal, _ = parse_query(message.subject)
        if not buckets.take(principal, time.monotonic()):
            raise Full(f"{principal} sends more queries a second than are allowed: retry later", code="rate_limited")
        return await handler(message)

    respond = endpoint_handler(name, within_rate, query_channel.answer, observe, _log)
    return Endpoint(name=name, subject=query_channel.subject(), handler=respond, concurrency=CONCURRENCY)
