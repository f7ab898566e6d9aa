"""Every operation ends: deadlines, silence, lost replicas, cancels; and late news is still accepted."""

import asyncio
import gc
import tracemalloc

import pytest
from msgspec import json
from tests.executor.agent_requests import heartbeat
from tests.executor.conftest import World

from writ_contracts import subjects
from writ_contracts.errors import Unreachable
from writ_contracts.journal import RefusedSummary
from writ_contracts.wire import _recent_event
from writ_executor.journal.index import Index
from writ_testing.eventually import eventually

RESTART = {"parameters": {"service_name": "nginx", "timeout": 1}}


async def test_unclaimed_operation_expires_and_names_the_missing_agent(world: World) -> None:
    await world.executor(start_window=0.2)
    answer = await world.ask("service_restart", **RESTART)
    assert await world.outcome(answer.operation_id or "") == "expired"
    assert getattr((await world.life(answer.operation_id or "")).end, "code", "") == "no_agent"


async def test_expiry_names_busy_agents(world: World) -> None:
    await world.executor(start_window=0.3)
    await heartbeat(world)
    answer = await world.ask("service_restart", **RESTART)
    assert await world.outcome(answer.operation_id or "") == "expired"
    assert getattr((await world.life(answer.operation_id or "")).end, "code", "") == "not_claimed"


async def test_an_expired_operation_releases_the_next_one(world: World) -> None:
    await world.executor(start_window=2.0)
    first = await world.ask("service_restart", **RESTART)
    second = await world.ask("service_restart", **RESTART)
    assert second.state == "requested"
    await world.outcome(first.operation_id or "")
    work = await world.work(second.operation_id or "")
    held = await world.hands.claim(work)
    assert held.answer.grant


async def test_an_agent_that_falls_silent_leaves_unknown_and_its_late_receipt_resolves_it(world: World) -> None:
    world.policy.kill_grace = 0.0
    await world.executor(lease=0.2)
    answer = await world.ask("service_restart", **RESTART)
    operation_id = answer.operation_id or ""
    work = await world.work(operation_id)
    held = await world.hands.claim(work)
    assert await world.outcome(operation_id) == "unknown"
    assert (await world.hands.finish(work, held)).stored
    assert await world.kinds(operation_id) == ["requested", "dispatched", "granted", "unknown", "resolved"]
    assert (await world.life(operation_id)).outcome == "succeeded"


async def test_idempotent_operation_is_dispatched_again_with_a_new_attempt(world: World) -> None:
    world.policy.kill_grace = 0.0
    await world.executor(lease=0.2)
    answer = await world.ask("service_start", **RESTART)
    operation_id = answer.operation_id or ""
    first = await world.work(operation_id)
    await world.hands.claim(first)

    async def second() -> int | None:
        attempt = (await world.work(operation_id)).attempt
        return attempt if attempt > 1 else None

    assert await world.until(second) == 2
    held = await world.hands.claim(await world.work(operation_id))
    await world.hands.finish(await world.work(operation_id), held)
    assert await world.outcome(operation_id) == "succeeded"


async def test_report_of_a_restarted_agent_that_an_operation_is_over_counts(world: World) -> None:
    await world.executor()
    idempotent = await world.ask("service_start", **RESTART)
    work = await world.work(idempotent.operation_id or "")
    held = await world.hands.claim(work)
    await world.hands.finish(work, held, outcome="unknown", code="agent_restarted", over=True)
    assert (await world.kinds(idempotent.operation_id or ""))[-1] == "dispatched"
    again = await world.work(idempotent.operation_id or "")
    await world.hands.finish(again, await world.hands.claim(again))

    other = await world.ask("service_restart", **RESTART)
    work = await world.work(other.operation_id or "")
    held = await world.hands.claim(work)
    await world.hands.finish(work, held, outcome="unknown", code="agent_restarted", over=True)
    assert await world.outcome(other.operation_id or "") == "unknown"


async def test_secret_parameters_are_deleted_although_the_next_in_line_cannot_be_dispatched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent_policy(*_: str) -> None:
        raise Unreachable("policy does not answer the second decision on an approved operation")

    one = await world.executor()
    answer = await world.ask("file_write", parameters={"file_path": "/srv/app/a", "content": "x"})
    work = await world.work(answer.operation_id or "")
    held = await world.hands.claim(work)
    requested = (await world.accepted(work.operation_id)).requested
    place = f"{work.operation_id}.{requested.fingerprint}"
    assert await world.bus.params.get(place) is not None
    monkeypatch.setattr(one.claims._outcomes._dispatcher, "advance", silent_policy)
    await world.hands.finish(work, held)
    await one.background.settle()
    assert await world.bus.params.get(place) is None


async def test_another_replica_takes_over_what_a_dead_one_left_requested(world: World) -> None:
    dead = await world.executor(sweep=1000.0)
    dead.intake._accepted.begin = _unchanged  # type: ignore[method-assign, assignment] # dies after `requested`
    answer = await world.ask("service_restart", **RESTART)
    assert answer.state == "requested"
    await world.executor(sweep=0.05)
    assert (await world.work(answer.operation_id or "")).attempt == 1


async def _unchanged(life: object) -> object:
    return life


async def test_a_flood_is_refused_before_it_is_recorded_and_leaves_one_summary(world: World) -> None:
    one = await world.executor(rate=0.001, burst=5, sweep=1000.0)
    answers = await asyncio.gather(*(world.ask("service_status", **RESTART) for _ in range(40)))
    limited = [answer.error for answer in answers if answer.error]
    assert len(limited) == 35
    assert {(error.code, error.retry) for error in limited} == {("rate_limited", True)}
    assert (await world.ask("service_status", "bob", **RESTART)).error is None
    await one.admission.summarise(after=0.0)
    [summary] = [event for event in await world.events() if isinstance(event, RefusedSummary)]
    assert (summary.principal, summary.count) == ("alice", len(limited))
    assert len(await world.records(subjects.SECURITY)) == 1


async def test_a_nearly_full_journal_refuses_new_operations_but_not_cancels_or_ends(world: World) -> None:
    one = await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    one.admission.fill = 0.9
    one.admission.measure_fill = _nothing  # type: ignore[method-assign]
    refused = await world.ask("service_restart", **RESTART)
    assert refused.error
    assert (refused.error.code, refused.error.retry) == ("full", True)
    held = await world.hands.claim(work)
    assert held.answer.grant
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": work.operation_id})
    assert cancel.error is None
    await world.hands.finish(work, held, outcome="cancelled")
    assert await world.outcome(work.operation_id) == "cancelled"


async def _nothing() -> None:
    return None


async def test_a_new_replica_starts_from_a_snapshot_and_knows_what_is_open(world: World) -> None:
    one = await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    waiting = await world.ask("service_restart", **RESTART)
    await one.follower.reached(await _last(world))
    await one.follower.save()
    reads: list[int] = []
    other = await world.executor(sweep=1000.0)
    reads.append(other.index.sequence)
    assert {life.requested.operation_id for life in other.index.open()} == {
        answer.operation_id,
        waiting.operation_id,
    }
    assert isinstance(other.index, Index)
    next_life = other.index.next_in(subjects.target_lock("web-1"))
    assert next_life is None  # the first one holds the target


async def test_a_snapshot_of_events_lost_with_the_old_disk_is_never_used_later(world: World) -> None:
    one = await world.executor(sweep=1000.0)
    one.index.sequence += 3  # the backup has the snapshot, and not the events before it
    await one.follower.save()
    two = await world.executor(sweep=1000.0)
    answers = [await world.ask("service_restart", **RESTART) for _ in range(3)]
    await two.follower.reached(await _last(world))
    three = await world.executor(sweep=1000.0)
    there = {life.requested.operation_id for life in three.index.open()}
    assert there == {answer.operation_id for answer in answers}


async def _last(world: World) -> int:
    return (await world.bus.journal.usage()).last_sequence


async def test_operation_that_the_pool_lacks_is_refused_before_the_decision(world: World) -> None:
    one = await world.executor()
    await heartbeat(world)

    async def heard() -> bool | None:
        return bool(one.presence.agents(world.hands.pool)) or None

    await eventually(heard)
    answer = await world.ask("container_inspect", parameters={"container_name": "web"})
    assert answer.error
    assert answer.error.code == "unsupported"
    assert world.policy.decides == []
    assert (await world.ask("service_restart", **RESTART)).error is None


async def test_admission_counts_the_future_events_of_open_operations(world: World) -> None:
    one = await world.executor(sweep=1000.0)
    one.admission.fill, one.admission._each = 0.8, 0.03
    assert (await world.ask("service_status", **RESTART)).error is None
    assert (await world.ask("service_status", **RESTART)).error is None
    refused = await world.ask("service_status", **RESTART)
    assert refused.error
    assert refused.error.code == "full"


async def test_memory_of_another_executors_operation_holds_no_journal_messages(world: World) -> None:
    """Fields unknown to this version stand for the unsigned parts of a message."""
    await world.executor()
    await world.work((await world.ask("service_status", **RESTART)).operation_id or "")
    stored = [(one.sequence, one.subject, json.decode(one.data)) for one in world.broker.disk.records]
    index = Index()
    tracemalloc.start()
    try:
        for sequence, subject, event in stored:
            index.read(sequence, subject, json.encode({**event, "more": "s" * 400_000}))
        _recent_event.cache_clear()
        assert len(list(index.open())) == 1
        assert large_blocks() == 0
    finally:
        tracemalloc.stop()


def large_blocks() -> int:
    """Return blocks of memory as large as a whole message."""
    gc.collect()
    return sum(trace.size > 390_000 for trace in tracemalloc.take_snapshot().traces)


async def steady_large_blocks() -> int:
    """Their number once it no longer changes: a thread may be writing a message at the moment."""
    counts = list[int]()

    async def alike() -> list[int]:
        counts.append(large_blocks())
        return counts if len(counts) > 3 and len(set(counts[-4:])) == 1 else []

    return (await eventually(alike))[-1]


async def test_memory_of_an_operation_holds_no_received_messages(world: World) -> None:
    executor = await world.executor()
    tracemalloc.start()
    try:
        secret = {"file_path": "/srv/app/x", "content": "s" * 400_000}
        work = await world.work((await world.ask("file_write", parameters=secret)).operation_id or "")
        assert (await world.hands.finish(work, await world.hands.claim(work), {"log": "s" * 400_000})).stored
        await executor.background.settle()
        world.policy.decides.clear()
        world.policy.grants.clear()
        with_it = await steady_large_blocks()
        executor.index._ended.clear()
        assert large_blocks() == with_it
    finally:
        tracemalloc.stop()
