"""Events for journal and requester: one correlation id, limited in number, progress only of their own operations."""

import asyncio

from msgspec import json
from tests.executor.conftest import World

from writ_bus.port import Message
from writ_contracts import subjects
from writ_contracts.agents import Progress
from writ_contracts.journal import MAX_EVENT_BYTES
from writ_contracts.wire import decode, encode

RESTART = {"target": "web-1", "parameters": {"service_name": "nginx"}}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_all_events_of_an_operation_bear_its_requests_correlation_and_trace(world: World) -> None:
    """The same holds if the agent sends its claim and its receipt with others."""
    await world.executor()
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "Writ-Correlation-Id": "change-7"}
    answer = await world.ask_raw(subjects.request("alice", "service_restart"), json.encode(RESTART), headers)
    work = await world.work(answer.operation_id or "")
    await world.hands.finish(work, await world.hands.claim(work))
    assert await world.outcome(work.operation_id) == "succeeded"
    assert answer.correlation_id == "change-7"
    events = await world.events(subjects.any_operation_filter(work.operation_id))
    assert {event.correlation_id for event in events} == {"change-7"}
    assert {event.traceparent.split("-")[1] for event in events} == {TRACE}
    assert len(events) == 4


async def test_operation_that_waited_or_expired_ends_in_its_own_trace(
    world: World,
) -> None:
    """The end of the other operation, or a sweep, releases it; neither is its cause."""
    await world.executor(start_window=0.3)
    traces = {}
    for number in "123":
        headers = {"traceparent": f"00-{number * 32}-00f067aa0ba902b7-01"}
        answer = await world.ask_raw(subjects.request("alice", "service_restart"), json.encode(RESTART), headers)
        traces[answer.operation_id or ""] = number * 32
    for operation_id in traces:
        assert await world.outcome(operation_id) == "expired"
    for operation_id, trace in traces.items():
        events = await world.events(subjects.any_operation_filter(operation_id))
        assert {event.traceparent.split("-")[1] for event in events} == {trace}
        assert [type(event).__name__ for event in events] == ["Requested", "Dispatched", "Finished"]


async def test_no_event_is_larger_than_a_journal_event_may_be(world: World) -> None:
    await world.executor()
    key = f"U{'A' * 55}"
    for statement in (None, {"payload": {"x": "y" * 200_000}, "key": key, "signature": "z" * 200_000}):
        scope = [f"{number:03}-{'x' * 59}*" for number in range(256)]
        wish = {"target": "writ", "parameters": {"reason": "r" * 1000, "scope": scope}, "reason": "w" * 1000}
        await world.ask("stop_set", **wish, statement=statement)
        await world.ask("no_such_operation", **wish, statement=statement)
    records = await world.records()
    assert len(records) >= 4
    assert max(len(record.data) for record in records) <= MAX_EVENT_BYTES


async def test_progress_goes_to_its_requester_from_the_pool_that_runs_it_and_from_no_other(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    heard: asyncio.Queue[Message] = asyncio.Queue()
    await world.bus.subscribe(subjects.progress_event("alice", work.operation_id), heard.put)
    for pool, principal, words in (
        ("local-other", "alice", "of a pool that does not run it"),
        (world.hands.pool, "bob", "to somebody else"),
        (world.hands.pool, "alice", "half done"),
    ):
        progress = Progress(operation_id=work.operation_id, principal=principal, message=words)
        await world.bus.publish(subjects.progress(pool), encode(progress))
    async with asyncio.timeout(30):
        assert decode((await heard.get()).data, Progress).message == "half done"
    assert heard.empty()
