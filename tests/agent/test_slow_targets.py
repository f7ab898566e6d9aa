"""A hanging target delays only its own operations."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.agent.conftest import POOL, TARGET, World, until
from tests.agent.test_host_reads import ask

from writ_agent.backends.port import Progress, Task, TaskResult
from writ_agent.preflight.host_reads import READS_AT_ONCE, READS_WAITING
from writ_agent.work import detached_operations, running
from writ_agent.work.detached_operations import DetachedOperations
from writ_agent.work.running import RunningOperation
from writ_contracts.agents import ReadReply
from writ_contracts.inventory import Target
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.stopwatch import stopwatch
from writ_testing.suites.backend import ProgressRecorder, task

CATALOGUE = load_catalogue()
HEALTHY = replace(TARGET, id="host-2")
SLOTS = 8


class HangingTarget:
    """TARGET hangs until `go_on` is set; other targets answer at once."""

    def __init__(self, world: World) -> None:
        self.go_on = asyncio.Event()
        self.running = 0
        world.backend.scripts["test_noop"] = self._run

    async def _run(self, task: Task, progress: Progress) -> TaskResult:
        if task.target.id == TARGET.id:
            self.running += 1
            try:
                await self.go_on.wait()
            finally:
                self.running -= 1
        return TaskResult(outcome="succeeded")


async def test_a_hanging_target_does_not_hold_the_slots_of_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = HangingTarget(world)
    await world.agent(slots=SLOTS, waiting=64)
    held = [await world.executor.dispatch("test_noop", TARGET) for _ in range(SLOTS)]
    await until(lambda: hanging.running == SLOTS)
    with stopwatch() as seconds:
        await world.executor.ended(await world.executor.dispatch("test_noop", HEALTHY))
    assert seconds() < 10.0
    monkeypatch.setattr(detached_operations, "SLOT_SECONDS", 60.0)
    further = [await world.executor.dispatch("test_noop", TARGET) for _ in range(SLOTS)]
    with stopwatch() as seconds:  # what is known to be slow gets no slot at all
        await world.executor.ended(await world.executor.dispatch("test_noop", HEALTHY))
    assert seconds() < 10.0
    assert hanging.running <= SLOTS + SLOTS // 2  # those of the burst, and what is begun before it is known to hang
    hanging.go_on.set()
    for operation_id in held + further:
        assert (await world.executor.ended(operation_id)).outcome == "succeeded"


async def test_a_stop_ends_operations_without_a_slot_and_sends_their_receipts(world: World) -> None:
    hanging = HangingTarget(world)
    agent = await world.agent(slots=1, waiting=64)
    operation_id = await world.executor.dispatch("test_noop", TARGET)
    await until(lambda: hanging.running == 1)

    def is_detached() -> bool:
        beat = world.executor.heartbeats[-1]
        return beat.free_slots == 1 and operation_id in beat.running

    await until(is_detached)
    await agent.stop()
    assert (await world.executor.ended(operation_id)).code == "agent_stopped"


class Queue:
    """A handler whose operation waits its turn. After so many `looks` at the time of its wait it runs."""

    def __init__(self, looks: int) -> None:
        self._seconds, self._left = 0.0, looks
        self._turn = asyncio.Event()

    async def run(self, task: Task, progress: Progress) -> TaskResult:
        await self._turn.wait()
        return TaskResult(outcome="succeeded")

    async def stop(self, operation_id: str, grace: float) -> bool:
        return True

    def queued_seconds(self, operation_id: str) -> float:
        self._seconds, self._left = self._seconds + 0.01, self._left - 1
        if not self._left:
            self._turn.set()
        return self._seconds


async def test_wait_of_a_read_for_its_turn_does_not_count_in_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    granted = replace(task(CATALOGUE["test_noop"], TARGET, "op"), timeout=0.01)
    assert granted.operation.read_only
    assert (await RunningOperation(Queue(3), granted, ProgressRecorder(), 0.1).wait()).outcome == "succeeded"
    monkeypatch.setattr(running, "LONGEST_QUEUE", 0.015)
    done = await RunningOperation(Queue(4), granted, ProgressRecorder(), 0.1).wait()
    assert (done.outcome, done.code) == ("unknown", "timeout")


async def test_wait_of_a_change_for_its_turn_counts_in_the_timeout() -> None:
    """Its effect must not begin after its deadline: executors that do not hear its agent take it for lost then."""
    granted = replace(task(CATALOGUE["test_count"], TARGET, "op", path="/tmp/a"), timeout=0.01)
    assert not granted.operation.read_only
    done = await RunningOperation(Queue(3), granted, ProgressRecorder(), 0.1).wait()
    assert (done.outcome, done.code) == ("unknown", "timeout")


async def test_without_room_an_operation_keeps_its_slot() -> None:
    detached, go_on = DetachedOperations(1, 4), asyncio.Event()

    async def work() -> None:
        await go_on.wait()

    await detached.run("a", work())
    keeps = asyncio.create_task(detached.run("b", work()))
    done, _ = await asyncio.wait({keeps}, timeout=0.5)
    assert (len(detached), done) == (1, set())
    go_on.set()
    await asyncio.wait_for(keeps, 30)
    await asyncio.wait_for(detached.finish(), 30)
    assert not detached.is_slow("a")


async def test_a_target_whose_listings_hang_delays_no_listing_of_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, go_on = 0, asyncio.Event()

    async def listing(target: Target, source: str) -> list[str]:
        nonlocal hanging
        if target.id == TARGET.id:
            hanging += 1
            await go_on.wait()
        return ["nginx"]

    async def look(target: Target) -> ReadReply:
        return await world.executor.request_read(ask(world, "listing", target=target, sources=["list_services"]), POOL)

    monkeypatch.setattr(world.backend, "listing", listing)
    await world.agent()
    held = [asyncio.create_task(look(TARGET)) for _ in range(READS_AT_ONCE + READS_WAITING)]
    await until(lambda: hanging == READS_AT_ONCE)
    with stopwatch() as seconds:
        assert (await look(HEALTHY)).error is None
        refused = (await look(TARGET)).error
    assert seconds() < 10.0
    assert refused is not None
    assert (refused.code, refused.retry) == ("busy", True)
    go_on.set()
    assert [(await one).error for one in held] == [None] * len(held)
