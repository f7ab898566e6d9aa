"""A principal within its rate cannot fill the journal for all: from half on, its own requests are refused."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.executor.conftest import World

from writ_bus.port import Usage
from writ_executor.journal.written_bytes import MOST_OWNERS, OVERHEAD, PERIOD, WrittenBytes

STATUS = {"parameters": {"service_name": "nginx"}}
SIZE = 100 << 20


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(0, 600)), max_size=30))
def test_written_bytes_never_exceed_what_was_written_and_are_forgotten(events: list[tuple[int, float]]) -> None:
    written, now = WrittenBytes(), 1000.0
    for size, later in events:
        now += later
        written.add("alice", size, now)
    assert 0 <= written.of("alice") <= sum(size + OVERHEAD for size, _ in events)
    written.add("bob", 1, now + PERIOD + 1)
    assert written.of("alice") == 0


def test_a_clock_that_steps_back_forgets_nothing() -> None:
    written = WrittenBytes()
    written.add("alice", 600, 5000.0)
    written.add("alice", 600, 10.0)
    assert written.of("alice") == 2 * (600 + OVERHEAD)


def test_principals_are_bounded_and_the_largest_stay() -> None:
    written = WrittenBytes()
    written.add("mallory", 1_000_000, 1.0)
    for number in range(2 * MOST_OWNERS + 5):
        written.add(f"p-{number}", 1, 1.0)
    assert written.of("mallory") > 1_000_000
    assert MOST_OWNERS <= len(written.owners()) <= 2 * MOST_OWNERS


async def test_a_principal_that_wrote_much_is_refused_while_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await world.executor()
    await world.ask("service_status", "mallory", **STATUS)
    usage = await world.bus.journal.usage()
    assert await one.follower.reached(usage.last_sequence)
    assert one.index.principals.written.of("mallory") > OVERHEAD
    one.index.principals.written.add("mallory", SIZE // 9, time.time())

    async def half_full() -> Usage:
        return Usage(SIZE * 6 // 10, SIZE, usage.last_sequence, usage.messages, 1, "")

    monkeypatch.setattr(one.admission._bus.journal, "usage", half_full)
    await one.admission.measure_fill()
    refused = (await world.ask("service_status", "mallory", **STATUS)).error
    assert refused is not None
    assert (refused.code, refused.retry) == ("full", True)
    assert "principal mallory has 1" in refused.message
    assert (await world.ask("service_status", "alice", **STATUS)).error is None


async def test_cancels_and_sessions_of_a_principal_take_a_share_of_the_free_part_and_stops_pass(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They need no rule, so a principal without rights filled the journal with them, and nobody could set a stop."""
    one = await world.executor()
    operation_id = (await world.ask("service_restart", "mallory", **STATUS)).operation_id
    cancel = {"target": "writ", "parameters": {"operation_id": operation_id}}
    assert (await world.ask("operation_cancel", "mallory", **cancel)).error is None
    usage = await world.bus.journal.usage()
    assert await one.follower.reached(usage.last_sequence)
    assert 0 < one.index.principals.control.of("mallory") < one.index.principals.written.of("mallory")

    async def nearly_full() -> Usage:
        return Usage(SIZE * 9 // 10, SIZE, usage.last_sequence, usage.messages, 1, "")

    monkeypatch.setattr(one.admission._bus.journal, "usage", nearly_full)
    await one.admission.measure_fill()
    assert (await world.ask("operation_cancel", "mallory", **cancel)).error is None
    one.index.principals.control.add("mallory", SIZE // 100, time.time())
    refused = (await world.ask("operation_cancel", "mallory", **cancel)).error
    assert refused is not None
    assert (refused.code, refused.retry) == ("full", True)
    limit = re.search(r"by cancels, sessions and windows; at most (\d+) are allowed", refused.message)
    assert limit is not None, refused
    assert SIZE // 10 * 0.1 >= int(limit[1]) > SIZE // 10 * 0.09  # open operations need a part of the free tenth
    assert (await world.ask("operation_cancel", "alice", **cancel)).error is None
    stop = await world.ask("stop_set", "mallory", target="writ", parameters={"reason": "it burns"})
    assert stop.error is None


async def test_refusals_of_a_principal_that_wrote_much_are_counted_and_leave_no_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invalid requests are refused before any quota is checked, and each took an event."""
    one = await world.executor()
    one.index.principals.written.add("mallory", SIZE // 9, time.time())
    usage = await world.bus.journal.usage()

    async def half_full() -> Usage:
        return Usage(SIZE * 6 // 10, SIZE, usage.last_sequence, usage.messages, 1, "")

    monkeypatch.setattr(one.admission._bus.journal, "usage", half_full)
    await one.admission.measure_fill()
    for principal, events in (("mallory", 0), ("alice", 1)):
        refused = await world.ask("service_status", principal, parameters={"nonsense": 1})
        assert refused.outcome == "invalid"
        assert len(await world.events(f"writ.journal.op.{principal}.*.refused")) == events
