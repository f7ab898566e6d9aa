"""An executor ends with any of its permanent tasks. The tasks are read from its code."""

import asyncio
import inspect

import pytest
from tests.architecture.tree import ROOT, task_names
from tests.executor.conftest import World

from writ_bus import tasks
from writ_executor import service
from writ_executor.steps.background import BackgroundTasks
from writ_testing.injection import InjectedError, break_unending


@pytest.mark.parametrize("name", sorted(task_names(ROOT / "services/executor", "unending")))
async def test_an_executor_ends_with_any_of_its_permanent_tasks(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    executor = await world.executor()
    break_unending(monkeypatch, service, name)
    tasks.take_ended()
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(executor.run(), 10)
    assert {type(error) for error in ended.value.exceptions} == {InjectedError}
    assert tasks.take_ended().keys() == {name}


async def test_work_in_the_background_that_breaks_is_counted(world: World) -> None:
    executor = await world.executor()
    tasks.take_ended()

    async def breaks() -> None:
        raise InjectedError

    executor.background.spawn("simulate", breaks())
    await executor.background.settle()
    assert tasks.take_ended() == {"simulate": 1}


async def test_work_that_is_cancelled_before_its_first_step_is_closed() -> None:
    background = BackgroundTasks()

    async def never() -> None:
        raise AssertionError

    work = never()
    background.spawn("work", work)
    [task] = background._tasks
    task.cancel()
    await background.settle(0.0)
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED
