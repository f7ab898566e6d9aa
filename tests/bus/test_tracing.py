"""Trace context: https://www.w3.org/TR/trace-context/ and our own two headers."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_bus import tracing

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_incoming_trace_is_continued() -> None:
    trace = tracing.incoming({tracing.TRACEPARENT: PARENT, tracing.CORRELATION: "order-66"})
    assert trace.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace.span_id != "00f067aa0ba902b7"
    assert (trace.causation_id, trace.correlation_id, trace.flags) == ("00f067aa0ba902b7", "order-66", "01")
    assert tracing.incoming({tracing.TRACEPARENT: trace.traceparent}).trace_id == trace.trace_id


def test_cause_is_the_event_if_there_is_one() -> None:
    assert tracing.incoming({tracing.TRACEPARENT: PARENT, tracing.EVENT_ID: "e1"}).causation_id == "e1"


def test_later_work_continues_in_its_own_trace() -> None:
    mine = tracing.incoming({tracing.TRACEPARENT: PARENT, tracing.CORRELATION: "order-66"})
    for around in (tracing.root("another"), mine):
        with tracing.within(around):
            trace = tracing.continued(mine.traceparent, "order-66")
            assert (trace.trace_id, trace.correlation_id) == (mine.trace_id, "order-66")
            assert (trace is mine) == (around is mine)
    assert tracing.continued(mine.traceparent, "order-66").causation_id == mine.span_id


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "garbage",
        PARENT.upper(),
        PARENT + "-x",
        PARENT + "\n",
        "01" + PARENT[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    ],
)
def test_invalid_traceparent_begins_a_new_trace(wrong: str) -> None:
    trace = tracing.incoming({tracing.TRACEPARENT: wrong, tracing.CORRELATION: "kept"})
    assert trace.trace_id not in wrong
    assert (trace.correlation_id, trace.causation_id) == ("kept", "")


@given(st.dictionaries(st.sampled_from([tracing.TRACEPARENT, tracing.CORRELATION, tracing.CAUSATION]), st.text()))
def test_headers_of_any_content_give_a_valid_trace(headers: dict[str, str]) -> None:
    with tracing.within(tracing.incoming(headers)):
        sent = tracing.outgoing()
    again = tracing.incoming(sent)
    assert again.trace_id in sent[tracing.TRACEPARENT]
    assert again.correlation_id == sent[tracing.CORRELATION]
    assert sent[tracing.CORRELATION].isprintable()


def test_each_message_is_a_child_of_its_own() -> None:
    with tracing.within(tracing.root()) as trace:
        one, two = tracing.outgoing(), tracing.outgoing({"X": "y"})
    assert one[tracing.TRACEPARENT] != two[tracing.TRACEPARENT]
    assert {one[tracing.TRACEPARENT][3:35], two[tracing.TRACEPARENT][3:35]} == {trace.trace_id}
    assert two["X"] == "y"
    assert tracing.CAUSATION not in one


def test_trace_header_set_by_the_sender_stays() -> None:
    assert tracing.outgoing({tracing.CORRELATION: "mine"})[tracing.CORRELATION] == "mine"


async def test_tasks_do_not_see_each_others_traces() -> None:
    async def work(name: str) -> str:
        tracing.enter({tracing.CORRELATION: name})
        await asyncio.sleep(0)
        trace = tracing.current()
        return trace.correlation_id if trace else ""

    names = [f"c{number}" for number in range(20)]
    assert await asyncio.gather(*(asyncio.create_task(work(name)) for name in names)) == names
    assert tracing.current() is None
