"""No background task ends unnoticed: it starts again, or ends its group, and the end is counted."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_bus import tasks
from writ_bus.backoff import pause_after
from writ_bus.tasks import TaskEnded
from writ_runtime.metrics import Metrics
from writ_testing.eventually import eventually


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "FIRST_PAUSE", 0.001)
    tasks.take_ended()


async def breaks() -> None:
    raise ValueError("broke")


async def returns() -> None:
    return


async def is_cancelled_inside() -> None:
    inner = asyncio.get_running_loop().create_future()
    inner.cancel()
    await inner


@pytest.mark.parametrize("end", [breaks, returns, is_cancelled_inside])
async def test_kept_task_is_started_again_after_any_end(end: Callable[[], Awaitable[None]]) -> None:
    turns = 0

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns < 4:
            await end()
        else:
            await asyncio.Event().wait()

    async def is_running() -> bool:
        return turns == 4

    task = tasks.keep("sweep", work)
    await eventually(is_running)
    assert tasks.take_ended() == {"sweep": 3}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tasks.take_ended() == {}


async def test_spawned_task_that_fails_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    task = tasks.spawn(breaks(), "receipt")
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert tasks.take_ended() == {"receipt": 1}
    assert "broke" in caplog.text


async def test_awaited_task_raises_and_is_not_counted() -> None:
    with pytest.raises(ValueError, match="broke"):
        await tasks.start(breaks(), "awaited")
    assert tasks.take_ended() == {}


@pytest.mark.parametrize(("end", "error"), [(breaks, ValueError), (returns, TaskEnded)])
async def test_unending_work_that_ends_ends_its_group(
    end: Callable[[], Awaitable[None]], error: type[Exception]
) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(tasks.unending("one", forever()))
            group.create_task(tasks.unending("two", end()))  # type: ignore[arg-type]

    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(both(), 30)
    assert [type(one) for one in ended.value.exceptions] == [error]
    assert tasks.take_ended() == {"two": 1}


async def test_ended_tasks_are_a_metric() -> None:
    await asyncio.wait({tasks.spawn(breaks(), "receipt")})
    await asyncio.sleep(0)
    text = Metrics().exposition()[0].decode()
    assert 'writ_tasks_ended_total{task="receipt"} 1.0' in text


@given(st.integers(0, 200))
def test_pauses_between_restarts_are_bounded(turn: int) -> None:
    assert 0 < pause_after(turn, first=0.2, most=tasks.LONGEST_PAUSE) <= tasks.LONGEST_PAUSE


async def test_work_done_soon_comes_after_the_present_turn_and_gives_its_result() -> None:
    steps: list[str] = []

    def work() -> str:
        steps.append("work")
        return "result"

    done = tasks.soon(work)
    steps.append("turn")
    assert await done == "result"
    assert steps == ["turn", "work"]


async def test_error_of_work_done_soon_is_raised_where_it_is_awaited() -> None:
    def work() -> None:
        raise ValueError("broke")

    done = tasks.soon(work)
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="broke"):
        await done


async def test_work_done_soon_is_left_out_once_it_is_cancelled() -> None:
    worked: list[bool] = []
    done = tasks.soon(lambda: worked.append(True))
    done.cancel()
    await asyncio.sleep(0)
    assert not worked
