"""The endpoints `trace` and `search`: decode, read, encode; one answer and one record of it on every path."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from writ_audit.permission import Reader
from writ_audit.reading import Reading
from writ_bus.port import Endpoint, EndpointReply, Message, Service
from writ_contracts import wire
from writ_contracts.audit import SearchAnswer, SearchQuery, TraceAnswer, TraceQuery
from writ_contracts.errors import Denied, Invalid, WritError
from writ_contracts.registry import channel
from writ_contracts.requests import Failure
from writ_contracts.subjects import parse_query
from writ_runtime.metrics import Handled, Observer

QUERY_BYTES = 16_384
REQUEST_INFO = "Nats-Request-Info"

Query = TypeVar("Query", bound=Struct)


def service(version: str, reading: Reading, observe: Observer) -> Service:
    """The micro service, to be served."""
    handlers = Handlers(reading, observe)
    return Service(
        name="audit",
        version=version,
        description="What happened: traces and searches of the journal.",
        endpoints=[
            Endpoint(name="trace", subject=channel("query_trace").subject(), handler=handlers.trace),
            Endpoint(name="search", subject=channel("query_search").subject(), handler=handlers.search),
        ],
    )


class Handlers:
    """One method an endpoint."""

    def __init__(self, reading: Reading, observe: Observer) -> None:
        self._reading = reading
        self._observe = observe

    async def trace(self, message: Message) -> EndpointReply:
        """Answers TraceQuery."""
        return await self._handle("trace", message, TraceQuery, self._reading.trace, TraceAnswer)

    async def search(self, message: Message) -> EndpointReply:
        """Answers SearchQuery."""
        return await self._handle("search", message, SearchQuery, self._reading.search, SearchAnswer)

    async def _handle(
        self,
        endpoint: str,
        message: Message,
        kind: type[Query],
        read: Callable[[Reader, Query], Awaitable[Struct]],
        answer: Callable[..., Struct],
    ) -> EndpointReply:
        started = time.perf_counter()
        principal = code = ""
        outcome = "ok"
        content_type = message.headers.get("Content-Type", wire.JSON)
        try:
            principal, _ = parse_query(message.subject)
            query = wire.decode(message.data, kind, content_type=content_type, limit=QUERY_BYTES)
            reply = await read(Reader(principal, sender_key(message)), query)
        except WritError as error:
            code = error.code
            outcome = "refused" if isinstance(error, Invalid | Denied) else "failed"
            reply = answer(error=Failure(code=code, message=str(error), retry=error.retry))
        seconds = time.perf_counter() - started
        fields = {"principal": principal}
        self._observe(Handled(endpoint=endpoint, outcome=outcome, seconds=seconds, code=code, fields=fields))
        data, name = wire.encode_as(reply, content_type)
        return EndpointReply(data, {"Content-Type": name})


def sender_key(message: Message) -> str:
    """The user key that the NATS server says sent this; it overwrites what a sender puts there. "" if it says none."""
    try:
        info: dict[str, Any] = msgspec.json.decode(message.headers.get(REQUEST_INFO, "{}"), type=dict[str, Any])
    except msgspec.DecodeError:
        return ""
    return str(info.get("user", ""))
