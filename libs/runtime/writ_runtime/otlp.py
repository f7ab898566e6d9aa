"""Spans to a collector by OpenTelemetry's SDK. No other module imports it, and `spans` imports this one only on use.

The SDK sends in batches from its own thread, out of a bounded queue. Its environment variables (headers, certificates,
time-outs, sampler, sizes) apply here, too.
"""

import os

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from writ_bus.tracing import Span
from writ_contracts.version import VERSION

Value = str | bool | int | float | list[str]


class GivenIds(IdGenerator):
    """Trace and span ids already in messages."""

    trace_id = span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class Collector:
    """Takes ended spans. Not thread-safe."""

    def __init__(self, service: str) -> None:
        self._ids = GivenIds()
        self._provider = TracerProvider(
            resource=Resource.create(_who(service)), id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("writ", VERSION)

    def take(self, span: Span) -> None:
        """Queue the span and return at once. A full queue drops it."""
        self._ids.trace_id, self._ids.span_id = int(span.trace.trace_id, 16), int(span.trace.span_id, 16)
        kind = SpanKind[span.kind.upper()]
        recorded = self._tracer.start_span(span.name, _above(span), kind, _attributes(span), start_time=span.began)
        if span.failed or span.facts.get("outcome") == "failed":
            recorded.set_status(StatusCode.ERROR, span.failed or None)
        recorded.end(span.ended)

    def close(self) -> None:
        """Send the remaining spans; this may take as long as the collector likes."""
        self._provider.shutdown()


def _above(span: Span) -> Context:
    if not span.trace.parent_id:
        return Context()
    ids = int(span.trace.trace_id, 16), int(span.trace.parent_id, 16)
    parent = SpanContext(*ids, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _who(service: str) -> dict[str, str | int]:
    who: dict[str, str | int] = {"service.namespace": "writ", "process.pid": os.getpid()}
    if not os.environ.get("OTEL_SERVICE_NAME"):  # another name was chosen on purpose
        who["service.name"] = f"writ-{service}"
    return who


def _attributes(span: Span) -> dict[str, Value]:
    attributes = {"correlation_id": span.trace.correlation_id, **span.facts}
    known = {name: value for name, value in attributes.items() if value not in (None, "")}
    return {name if "." in name else f"writ.{name}": _value(value) for name, value in known.items()}


def _value(value: object) -> Value:
    if isinstance(value, str | bool | int | float):
        return value
    return [str(one) for one in value] if isinstance(value, list | tuple) else str(value)
