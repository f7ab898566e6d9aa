"""The endpoints `trace` and `search`: decode, read, encode. Every path gives one reply and one record of it."""

from typing import TypeVar

from msgspec import Struct

from writ_audit.permission import QueryReader
from writ_audit.reading import AuditQueryEndpoint
from writ_bus.port import Endpoint, Message, Service
from writ_bus.sender import sender_key
from writ_contracts import wire
from writ_contracts.history.audit import SearchQuery, SearchReply, TraceQuery, TraceReply
from writ_contracts.registry import channel
from writ_contracts.subjects import parse_query
from writ_runtime.endpoint_frame import endpoint_handler
from writ_runtime.logs import Log
from writ_runtime.metrics import Observer

QUERY_BYTES = 16_384

_log = Log("writ.audit")
Query = TypeVar("Query", bound=Struct)


def service(version: str, reading: AuditQueryEndpoint, observe: Observer) -> Service:
    """Return the NATS micro service with these endpoints."""
    handlers = AuditHandlers(reading)
    trace = endpoint_handler("trace", handlers.trace, TraceReply, observe, _log)
    search = endpoint_handler("search", handlers.search, SearchReply, observe, _log)
    return Service(
        name="audit",
        version=version,
        description="Reads the journal: traces and searches.",
        endpoints=[
            Endpoint(name="trace", subject=channel("query_trace").subject(), handler=trace),
            Endpoint(name="search", subject=channel("query_search").subject(), handler=search),
        ],
    )


class AuditHandlers:
    """The handlers; one method for each endpoint."""

    def __init__(self, reading: AuditQueryEndpoint) -> None:
        self._reading = reading

    async def trace(self, message: Message) -> TraceReply:
        reader, query = _read(message, TraceQuery)
        return await self._reading.trace(reader, query)

    async def search(self, message: Message) -> SearchReply:
        reader, query = _read(message, SearchQuery)
        return await self._reading.search(reader, query)


def _read(message: Message, kind: type[Query]) -> tuple[QueryReader, Query]:
    principal, _ = parse_query(message.subject)
    content_type = message.headers.get("Content-Type", wire.JSON)
    query = wire.decode(message.data, kind, content_type=content_type, limit=QUERY_BYTES)
    return QueryReader(principal, sender_key(message)), query
