"""Endpoints for queries, each with a rate limit for one principal."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from writ_bus.port import Endpoint, Message
from writ_contracts.errors import Full
from writ_contracts.registry import channel
from writ_contracts.subjects import parse_query
from writ_policy.endpoints.versions import QueryHandler
from writ_runtime.buckets import Buckets
from writ_runtime.endpoint_frame import endpoint_handler
from writ_runtime.logs import Log
from writ_runtime.metrics import Observer

CONCURRENCY = 4
"""The most queries of one kind that are handled at once, since decisions come first."""
RATE, BURST = 200.0, 400.0
"""Queries of one principal that are served: a second on average, and at once."""

_log = Log("writ.policy")


class QueryGroup(Protocol):
    """Queries about one subject."""

    def by_name(self) -> Mapping[str, QueryHandler]:
        """Return the handler of each query, by its channel's name. It raises WritError."""


def query_endpoints(groups: Iterable[QueryGroup], observe: Observer) -> list[Endpoint]:
    """Return the endpoints of all these queries. The rate of a principal counts over all of them."""
    buckets = Buckets(RATE, BURST)
    return [rated_endpoint(name, one, observe, buckets) for group in groups for name, one in group.by_name().items()]


def rated_endpoint(name: str, handler: QueryHandler, observe: Observer, buckets: Buckets) -> Endpoint:
    """Return the endpoint of a query. `buckets`: how many a second of one principal are answered."""
    query_channel = channel(name)

    async def within_rate(message: Message) -> Any:
        principal, _ = parse_query(message.subject)
        if not buckets.take(principal, time.monotonic()):
            raise Full(f"{principal} sends more queries a second than are allowed: retry later", code="rate_limited")
        return await handler(message)

    respond = endpoint_handler(name, within_rate, query_channel.answer, observe, _log)
    return Endpoint(name=name, subject=query_channel.subject(), handler=respond, concurrency=CONCURRENCY)
