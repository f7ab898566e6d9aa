"""Who caused what: W3C trace context, correlation and causation, on every message without anybody passing them on.

A handler runs within the trace of the message that it handles (a context variable, so each task has its own); every
message that it sends is a child of that. Source: https://www.w3.org/TR/trace-context/ (version 00).
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from msgspec import Struct

TRACEPARENT = "traceparent"
CORRELATION = "Writ-Correlation-Id"
CAUSATION = "Writ-Causation-Id"
EVENT_ID = "Writ-Event-Id"

_traceparent = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})").fullmatch
_correlation = re.compile(r"[A-Za-z0-9_.:-]{1,128}").fullmatch


class Trace(Struct, frozen=True):
    """Where a piece of work stands. `span_id` is its own, `causation_id` the message that it answers to."""

    trace_id: str
    span_id: str
    flags: str
    correlation_id: str
    causation_id: str = ""

    @property
    def traceparent(self) -> str:
        """As the header has it."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


_current: ContextVar[Trace | None] = ContextVar("writ_trace", default=None)


def current() -> Trace | None:
    """The trace that this task works within, if any."""
    return _current.get()


def root(correlation_id: str = "") -> Trace:
    """A trace that nothing came before; its correlation id is its trace id unless one is given."""
    trace_id = os.urandom(16).hex()
    return Trace(trace_id, os.urandom(8).hex(), "01", correlation_id or trace_id)


def incoming(headers: Mapping[str, str]) -> Trace:
    """The trace to handle a message within. Headers that break the grammar are as good as absent."""
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
    return Trace(trace_id, os.urandom(8).hex(), flags, correlation or trace_id, cause)


def outgoing(headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """Headers for a message that is sent now: a child of the current trace. What the caller set itself stays."""
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


def enter(headers: Mapping[str, str]) -> Trace:
    """Work within the incoming message's trace until the task ends: for tasks that handle one message."""
    trace = incoming(headers)
    _current.set(trace)
    return trace


@contextmanager
def within(trace: Trace) -> Iterator[Trace]:
    """Work within `trace`, then go back to what was."""
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)
