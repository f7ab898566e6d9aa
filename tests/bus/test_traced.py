"""A traced bus keeps every promise of a bus and leaves spans; an untraced one leaves none."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest
from tests.bus.test_memory_bus import MemoryGround

from writ_bus import tracing
from writ_bus.port import Bus, Delivery, Endpoint, EndpointReply, Entry, Message, Service
from writ_bus.traced_bus import TracedBus, traced
from writ_contracts import subjects
from writ_testing.memory.bus import MemoryBus
from writ_testing.suites.bus import BusSuite

OPERATION = "a" * 26
EVENT = subjects.operation_event("alice", OPERATION, "requested")
DISPATCHED = subjects.operation_event("alice", OPERATION, "dispatched", pool="local-web", target="web-1")


class TracedGround(MemoryGround):
    """The same broker, with traced buses."""

    async def bus(self, name: str) -> MemoryBus:
        return cast("MemoryBus", TracedBus(await super().bus(name)))


@pytest.fixture
async def ground() -> AsyncIterator[TracedGround]:
    ground = TracedGround()
    yield ground
    await asyncio.gather(*(bus.close() for bus in ground.buses))


@pytest.fixture(autouse=True)
def spans() -> Iterator[list[tracing.Span]]:
    taken: list[tracing.Span] = []
    tracing.export(taken.append)
    yield taken
    tracing.export(None)


class TestTracedBus(BusSuite):
    """The suite for a traced memory bus."""


def entry(subject: str) -> Entry:
    return Entry(subject=subject, data=b"{}", event_id="e1", filter=subject, expected=0)


async def answering(bus: Bus, *, fails: bool = False) -> None:
    async def handler(message: Message) -> bytes | EndpointReply:
        if fails:
            raise ValueError("with a secret in it")
        await bus.journal.append(entry(EVENT))
        tracing.note({"effect": "allow"})
        return b"done"

    endpoint = Endpoint(name="decide", subject=subjects.POLICY_DECIDE, handler=handler)
    await bus.serve(Service(name="policy", version="1.0.0", description="", endpoints=[endpoint]))


def one(spans: list[tracing.Span], name: str) -> tracing.Span:
    (found,) = (span for span in spans if span.name == name)
    return found


async def test_requester_responder_and_append_share_a_trace(ground: TracedGround, spans: list[tracing.Span]) -> None:
    policy, executor = await ground.bus("policy"), await ground.bus("executor")
    await answering(policy)
    with tracing.span("submit", tracing.root("change-7")):
        await executor.request(subjects.POLICY_DECIDE, b"", timeout=5)
    chain = [one(spans, name) for name in ("submit", "ask policy", "policy decide", "append requested")]
    assert [span.kind for span in chain] == ["internal", "client", "server", "producer"]
    assert [span.trace.parent_id for span in chain] == ["", *(span.trace.span_id for span in chain[:-1])]
    assert {(span.trace.trace_id, span.trace.correlation_id) for span in chain} == {
        (chain[0].trace.trace_id, "change-7")
    }
    assert all(span.began <= span.ended for span in chain)
    server = chain[2]
    assert server.facts["operation_id"] == OPERATION  # by what was appended within it
    assert server.facts["effect"] == "allow"
    (stored,) = await executor.journal.read(subjects.JOURNAL)
    assert stored.headers[tracing.TRACEPARENT] == chain[3].trace.traceparent


async def test_pulled_work_is_in_the_trace_of_its_dispatch(ground: TracedGround, spans: list[tracing.Span]) -> None:
    executor, agent = await ground.bus("executor"), await ground.bus("agent-local-web")
    done = asyncio.Event()

    async def handler(delivery: Delivery) -> None:
        with tracing.span("run"):
            await delivery.ack()
        done.set()

    await agent.pull(subjects.consumer("local-web"), subjects.JOURNAL_STREAM, handler, slots=1)
    with tracing.within(tracing.root()):
        await executor.journal.append(entry(DISPATCHED))
    async with asyncio.timeout(30):
        await done.wait()
    await agent.drain(1)
    appended, pulled, run = (one(spans, name) for name in ("append dispatched", "carry out", "run"))
    assert (pulled.trace.parent_id, run.trace.parent_id) == (appended.trace.span_id, pulled.trace.span_id)
    assert pulled.facts["operation_id"] == OPERATION


async def test_handler_that_fails_leaves_a_span_without_its_message(
    ground: TracedGround, spans: list[tracing.Span], caplog: pytest.LogCaptureFixture
) -> None:
    policy, executor = await ground.bus("policy"), await ground.bus("executor")
    await answering(policy, fails=True)
    with tracing.within(tracing.root()), pytest.raises(Exception, match="internal error"):
        await executor.request(subjects.POLICY_DECIDE, b"", timeout=5)
    assert (one(spans, "policy decide").failed, one(spans, "ask policy").failed) == ("ValueError", "BusRefused")
    assert "secret" not in str(spans)


async def test_messages_without_a_sampled_trace_leave_no_span(ground: TracedGround, spans: list[tracing.Span]) -> None:
    bus = await ground.bus("executor")
    await bus.journal.append(entry(EVENT))
    await bus.publish("writ.heartbeat.local-web", b"")
    unsampled = tracing.incoming({tracing.TRACEPARENT: f"00-{'a' * 32}-{'b' * 16}-00"})
    with tracing.within(unsampled), tracing.span("run"):
        await bus.journal.last(subjects.JOURNAL)
    assert spans == []


async def test_bus_without_a_collector_is_not_wrapped(spans: list[tracing.Span]) -> None:
    bus = MemoryBus(MemoryGround().broker)
    assert isinstance(traced(bus), TracedBus)
    tracing.export(None)
    assert traced(bus) is bus
    trace = tracing.root()
    with tracing.span("submit", trace) as entered, tracing.span("look"):
        tracing.note({"operation_id": OPERATION})
        assert entered is tracing.current() is trace
    assert (spans, trace.notes) == ([], None)
