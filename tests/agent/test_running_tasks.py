"""Stops of an operation that runs as a task in the agent's process."""

import asyncio
import inspect

import pytest

from writ_agent.backends.port import TaskResult
from writ_agent.backends.running_tasks import WAY_BACK_SECONDS, RunningTasks

STOPPED = TaskResult(outcome="cancelled", code="cancelled", effect="maybe")


class Hanging:
    """Work that hangs, and whose way back hangs as well."""

    def __init__(self) -> None:
        self.began, self.on_the_way_back = asyncio.Event(), asyncio.Event()

    async def work(self) -> TaskResult:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.on_the_way_back.set()
            await asyncio.Event().wait()
        return STOPPED


async def test_a_stop_after_the_time_of_the_way_back_ends_a_task_that_hangs_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running, hanging = RunningTasks(), Hanging()
    ending = asyncio.create_task(running.run("op", hanging.work(), STOPPED))
    await asyncio.wait_for(hanging.began.wait(), 20)
    running.cancel("op")
    await asyncio.wait_for(hanging.on_the_way_back.wait(), 20)
    task = running.cancel("op")
    assert task is not None
    assert task.cancelling() == 1
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as later:
        now = loop.time()
        later.setattr(loop, "time", lambda: now + WAY_BACK_SECONDS)
        running.cancel("op")
    assert await asyncio.wait_for(ending, 20) == STOPPED
    assert not running.operations


async def test_work_that_is_stopped_before_its_first_step_is_closed() -> None:
    running, work = RunningTasks(), Hanging().work()
    ending = asyncio.create_task(running.run("op", work, STOPPED))
    asyncio.get_running_loop().call_soon(running.cancel, "op")
    assert await asyncio.wait_for(ending, 20) == STOPPED
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED
