"""A small collector of spans: OTLP over HTTP as a real one takes it, in the process of the test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class ReceivedSpan(Struct, frozen=True, kw_only=True):
    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    seconds: float
    failed: bool
    attributes: dict[str, Any]


class Collector:
    """Decodes spans; `raw` holds all bytes. A `deaf` collector accepts a request and answers it `afterwards`."""

    def __init__(self) -> None:
        self.raw = b""
        self.paths: list[str] = []
        self.spans: list[ReceivedSpan] = []
        self.deaf, self.afterwards = False, asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, trace_id: str) -> list[ReceivedSpan]:
        return [one for one in self.spans if one.trace_id == trace_id]

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = await reader.readexactly(_length(head))
                self.raw += head + body
                self.paths.append(head.decode("latin-1").split(" ")[1])
                if self.deaf:
                    await self.afterwards.wait()
                self.spans += decoded(body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Listen within the block."""
    collector, open_now = Collector(), set[asyncio.Task[None]]()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(asyncio.ensure_future(collector.take(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    collector.port = server.sockets[0].getsockname()[1]
    try:
        yield collector
    finally:
        server.close()
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


def _length(head: bytes) -> int:
    return int(head.decode("latin-1").lower().partition("content-length:")[2].split()[0])


def decoded(body: bytes) -> list[ReceivedSpan]:
    """The spans of one request."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _received(_attributes(one.resource.attributes)["service.name"], span)
        for one in request.resource_spans
        for scope in one.scope_spans
        for span in scope.spans
    ]


def _received(service: str, span: Span) -> ReceivedSpan:
    return ReceivedSpan(
        service=service,
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        failed=span.status.code == 2,
        attributes=_attributes(span.attributes),
    )


def _attributes(attributes: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in attributes if isinstance(one, KeyValue)}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind or "")
