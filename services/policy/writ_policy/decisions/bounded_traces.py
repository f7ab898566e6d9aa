"""Bound the trace that is stored with a decision."""

from itertools import accumulate

from writ_contracts.decisions import MOST_TRACED, TraceEntry
from writ_contracts.wire import encode
from writ_rules.engine.decisions.trace import RuleTrace

TRACE_BYTES = 24_576


def bounded_trace(trace: RuleTrace, most: int) -> list[TraceEntry]:
    """Return the whole trace, or its most useful part: matching rules, rules that err, and the first of the others.

    If more of them match or err than `most`, as many as fit.
    """
    first = trace.first(max(most, 0))
    if len(first) <= MOST_TRACED:
        return first
    sizes = accumulate(len(encode(entry)) for entry in first)
    fits = [at for at, size in enumerate(sizes, 1) if at <= MOST_TRACED or size <= TRACE_BYTES]
    return first[: len(fits)]
