"""Threads of operations are counted by operation, bounded together, and shown when their operation is over."""

import asyncio
import gc
import threading

import pytest

from writ_agent.backends import operation_threads
from writ_agent.backends.operation_threads import OperationThreads, ThreadCount, TooManyThreads, count_threads
from writ_testing.eventually import eventually


@pytest.fixture
def release() -> threading.Event:
    """An event for which the threads of a test wait."""
    return threading.Event()


async def counted(count: ThreadCount, release: threading.Event) -> None:
    """Wait in a thread of the operation that this count is of, from a task of its own."""
    count_threads(count)
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(release.wait))


async def all_run(counts: list[ThreadCount]) -> bool:
    return all(len(count) for count in counts)


async def started(threads: OperationThreads, release: threading.Event, number: int) -> list[ThreadCount]:
    """Return the counts of so many operations, each with a thread that waits."""
    asyncio.get_running_loop().set_default_executor(threads)
    counts = [ThreadCount() for _ in range(number)]
    tasks = [asyncio.create_task(counted(count, release)) for count in counts]
    await eventually(lambda: all_run(counts), what="a thread of each operation")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return counts


async def test_cancelled_operation_knows_that_its_thread_still_runs(release: threading.Event) -> None:
    threads = OperationThreads()
    [count] = await started(threads, release, 1)
    try:
        assert not await count.ended(0.05)
        assert await threads.check() is None  # it is not over yet
        count.over = True
        assert "1 threads of ended operations" in str(await threads.check())
    finally:
        release.set()  # before the loop is closed, which waits for its threads
    assert await count.ended(60)
    assert await threads.check() is None


async def test_error_of_a_thread_that_ends_late_is_not_logged_as_lost(
    release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.get_running_loop().set_default_executor(OperationThreads())
    count = ThreadCount()

    def fails() -> None:
        release.wait(60)
        raise ConnectionError("the connection was closed")

    async def operation() -> None:
        count_threads(count)
        await asyncio.to_thread(fails)

    running = asyncio.create_task(operation())
    await eventually(lambda: all_run([count]), what="its thread")
    running.cancel()
    await asyncio.wait([running])
    assert not await count.ended(0.05)
    release.set()
    assert await count.ended(60)
    await asyncio.sleep(0)
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_threads_of_operations_leave_some_for_the_agent(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation_threads, "MOST_THREADS", 3)
    monkeypatch.setattr(operation_threads, "OWN_THREADS", 1)
    threads = OperationThreads()
    counts = await started(threads, release, 3)
    try:
        own = asyncio.create_task(asyncio.to_thread(lambda: "its own"))
        with pytest.raises(ExceptionGroup, match="unhandled errors") as refused:
            await counted(ThreadCount(), release)
        assert isinstance(refused.value.exceptions[0], TooManyThreads)
        assert await own == "its own"
    finally:
        release.set()  # before the loop is closed, which waits for its threads
    assert all([await count.ended(60) for count in counts])
