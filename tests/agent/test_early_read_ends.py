"""An early read leaves nothing behind however it ends, and its result needs a grant."""

import asyncio
from contextlib import suppress

import pytest
from tests.agent.conftest import READ, TARGET, Reader, World, gone, held, until

from writ_agent.backends.port import Progress, Task, TaskResult
from writ_agent.work import early_read


async def test_early_read_cancelled_before_its_grant_reveals_nothing(world: World, reader: Reader) -> None:
    answered = held(world)
    agent = await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    reader.go_on.set()
    await until(lambda: reader.ended == [1])
    hand = agent._parts.in_flight.find(operation_id)
    assert hand is not None
    assert await hand.stop("cancel")
    answered.set()
    receipt = await world.executor.ended(operation_id)
    assert (receipt.outcome, receipt.state) == ("cancelled", {})
    assert len(reader.begun) == 1


async def test_early_read_cancelled_after_its_grant_is_ended(world: World, reader: Reader) -> None:
    agent = await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await until(lambda: any(hand.running is not None for hand in agent._parts.in_flight))
    assert (await world.executor.cancel(operation_id)).result == "stopped"
    assert (await world.executor.ended(operation_id)).outcome == "cancelled"
    assert reader.ended == [1]


async def test_an_agent_that_stops_leaves_no_reading_behind(world: World, reader: Reader) -> None:
    held(world)
    agent = await world.agent(stop_grace=0.1)
    await world.executor.dispatch(READ, TARGET)
    await until(lambda: len(reader.begun) == 1)
    await agent.stop()
    assert reader.ended == [1]
    assert world.executor.receipts == []


async def test_failed_early_read_is_the_failure_of_the_operation(world: World, reader: Reader) -> None:
    async def refuse(task: Task, progress: Progress) -> TaskResult:
        reader.begun.append(task)
        return TaskResult(outcome="failed", code="unreachable", message="nobody there")

    world.backend.scripts[READ] = refuse
    await world.agent()
    receipt = await world.executor.ended(await world.executor.dispatch(READ, TARGET))
    assert (receipt.outcome, receipt.code, receipt.effect) == ("failed", "unreachable", "none")
    assert len(reader.begun) == 1


async def test_endless_early_read_holds_neither_its_slot_nor_its_agent(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def for_ever(task: Task, progress: Progress) -> TaskResult:
        reader.begun.append(task)
        while not reader.go_on.is_set():
            with suppress(asyncio.CancelledError):
                await reader.go_on.wait()
        return TaskResult(outcome="succeeded")

    async def deaf(operation_id: str, grace: float) -> bool:
        return False

    monkeypatch.setattr(world.backend, "run", for_ever)
    monkeypatch.setattr(world.backend, "stop", deaf)
    answered = held(world, gone)
    agent = await world.agent()
    await world.executor.dispatch(READ, TARGET)
    await until(lambda: len(reader.begun) == 1)
    answered.set()
    await until(lambda: not list(agent._parts.in_flight))
    reader.go_on.set()


async def test_concurrent_ends_of_an_early_read_share_one_end(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    certain: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def slow(operation_id: str, grace: float) -> bool:
        return await asyncio.shield(certain)

    monkeypatch.setattr(world.backend, "stop", slow)
    answered = held(world)
    agent = await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await until(lambda: len(reader.begun) == 1)
    hand = agent._parts.in_flight.find(operation_id)
    assert hand is not None
    stopping = asyncio.create_task(hand.stop("cancel"))
    answered.set()
    assert (await world.executor.ended(operation_id)).outcome == "cancelled"
    assert agent._parts.in_flight.find(operation_id) is hand
    assert not stopping.done()
    certain.set_result(False)
    assert await stopping is False
    await until(lambda: not list(agent._parts.in_flight))


async def test_a_defect_in_reading_ahead_keeps_nothing_from_being_run(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(early_read, "verify_early_read_grant", broken)
    reader.go_on.set()
    await world.agent()
    assert (await world.executor.ended(await world.executor.dispatch(READ, TARGET))).state == {"reading": 1}
