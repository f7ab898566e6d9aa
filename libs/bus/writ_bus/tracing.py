"""Causality: W3C trace context, correlation and causation, on every message without explicit passing.

A handler runs within the trace of its message (a context variable, so each task has its own); every message it sends is
a child of it. Source: https://www.w3.org/TR/trace-context/ (version 00).

Spans, which have the duration of each step, are made only while they are exported (`export`), and only of sampled
traces. As with logs, there is one sink for a whole process.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from time import time_ns
from typing import Any, Literal

from msgspec import Struct, structs

TRACEPARENT = "traceparent"
CORRELATION = "Writ-Correlation-Id"
CAUSATION = "Writ-Causation-Id"
EVENT_ID = "Writ-Event-Id"

_traceparent = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})").fullmatch
_correlation = re.compile(r"[A-Za-z0-9_.:-]{1,128}").fullmatch


class TraceContext(Struct, frozen=True):
    """The position of a step in a trace. `span_id` is its own, `parent_id` its parent's, `causation_id` the id of the
    causing message; `notes` are facts for its span, where it has one.
    """

    trace_id: str
    span_id: str
    flags: str
    correlation_id: str
    causation_id: str = ""
    parent_id: str = ""
    notes: dict[str, object] | None = None

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


class Span(Struct, frozen=True, kw_only=True):
    """An ended step: the trace and span ids are those of `trace`. Times in nanoseconds since 1970."""

    name: str
    kind: "Kind"
    trace: TraceContext
    began: int
    ended: int
    facts: Mapping[str, object]
    failed: str = ""
    """The name of the error that ended it."""


Kind = Literal["internal", "server", "client", "producer", "consumer"]
_NOTHING = nullcontext()
_sink: Callable[[Span], None] | None = None
_current: ContextVar[TraceContext | None] = ContextVar("writ_trace", default=None)


def current() -> TraceContext | None:
    """Return the trace of this task, if any."""
    return _current.get()


def root(correlation_id: str = "") -> TraceContext:
    """Return a new trace; its correlation id is its trace id unless one is given."""
    trace_id = os.urandom(16).hex()
    return TraceContext(trace_id, os.urandom(8).hex(), "01", correlation_id or trace_id)


def incoming(headers: Mapping[str, str]) -> TraceContext:
    """Return the trace for handling a message. Malformed headers count as absent."""
    correlation = headers.get(CORRELATION, "")
    if not _correlation(correlation):
        correlation = ""
    match = _traceparent(headers.get(TRACEPARENT, ""))
    if match is None:
        return root(correlation)
    trace_id, parent, flags = match.groups()
    cause = headers.get(EVENT_ID, "")
    if not _correlation(cause):
        cause = parent
    return TraceContext(trace_id, os.urandom(8).hex(), flags, correlation or trace_id, cause, parent)


def continued(traceparent: str, correlation_id: str) -> TraceContext:
    """Return the current trace if it is the one of `traceparent`, else the next step in the latter: for continued
    work.
    """
    trace = _current.get()
    if trace is not None and trace.trace_id == traceparent[3:35]:
        return trace
    return incoming({TRACEPARENT: traceparent, CORRELATION: correlation_id})


def outgoing(headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return headers for a message sent now: a child of the current trace. The caller's own headers stay."""
    trace = _current.get() or root()
    sent = {
        TRACEPARENT: f"00-{trace.trace_id}-{os.urandom(8).hex()}-{trace.flags}",
        CORRELATION: trace.correlation_id,
    }
    if trace.causation_id:
        sent[CAUSATION] = trace.causation_id
    if headers:
        sent.update(headers)
    return sent


def stamp(at: float, correlation_id: str = "") -> dict[str, Any]:
    """Return the common fields of a journal event written at `at` within the current trace."""
    trace = _current.get() or root(correlation_id)
    return {
        "id": os.urandom(16).hex(),
        "at": at,
        "correlation_id": correlation_id or trace.correlation_id,
        "causation_id": trace.causation_id,
        "traceparent": trace.traceparent,
    }


def enter(headers: Mapping[str, str]) -> TraceContext:
    """Use the incoming message's trace until the task ends: for tasks with one message."""
    trace = incoming(headers)
    _current.set(trace)
    return trace


@contextmanager
def within(trace: TraceContext) -> Iterator[TraceContext]:
    """Use `trace` within the block, then return to the earlier one."""
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def export(sink: Callable[[Span], None] | None) -> None:
    """Send the spans of this process to `sink`, each at its end; None: to nobody."""
    global _sink  # noqa: PLW0603 - one for the process, like where its logs go
    _sink = sink


def exporting() -> bool:
    """Return whether spans are exported."""
    return _sink is not None


def span(
    name: str, trace: TraceContext | None = None, kind: Kind = "internal", **facts: object
) -> AbstractContextManager[object]:
    """Use `trace` within the block (else a child of the current one), and leave a span of it if they are exported."""
    if _sink is not None:
        return _spanned(name, trace or part(), kind, facts)
    return _NOTHING if trace is None else within(trace)


def part() -> TraceContext:
    """Return a child of the current trace."""
    trace = _current.get()
    if trace is None:
        return root()
    return structs.replace(trace, span_id=os.urandom(8).hex(), parent_id=trace.span_id, notes=None)


def note(facts: Mapping[str, object]) -> None:
    """Add facts to the span of the current step."""
    trace = _current.get()
    if trace is not None and trace.notes is not None:
        trace.notes.update(facts)


def left(name: str, headers: Mapping[str, str], began: int, **facts: object) -> None:
    """Leave a span of a step since `began` for the message with these headers: for messages handled in groups."""
    _leave(Span(name=name, kind="consumer", trace=incoming(headers), began=began, ended=time_ns(), facts=facts))


@contextmanager
def _spanned(name: str, trace: TraceContext, kind: Kind, facts: dict[str, Any]) -> Iterator[TraceContext]:
    began, failed = time_ns(), ""
    try:
        with within(structs.replace(trace, notes=facts)) as entered:
            yield entered
    except BaseException as error:
        failed = type(error).__name__
        raise
    finally:
        _leave(Span(name=name, kind=kind, trace=trace, began=began, ended=time_ns(), facts=facts, failed=failed))


def _leave(span: Span) -> None:
    if _sink is not None and int(span.trace.flags, 16) & 1:
        _sink(span)
