"""The running operations of a handler inside the agent's process: one task each, which a stop cancels."""

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

from writ_agent.backends.bounded_call import contained
from writ_agent.backends.port import TaskResult
from writ_bus import tasks

WAY_BACK_SECONDS = 4.0
"""After a cancel, the time in which no other one reaches the task: it would interrupt the way back."""


class RunningTasks:
    """The tasks by operation id. The caller of `run` and a stop may both cancel a task."""

    def __init__(self, way_back: float = WAY_BACK_SECONDS) -> None:
        self._way_back = way_back
        self._tasks: dict[str, asyncio.Task[TaskResult]] = {}
        self._undisturbed: dict[str, float] = {}
        """Until when (the loop's clock) a stopped task is on its way back."""

    @property
    def operations(self) -> Collection[str]:
        return self._tasks.keys()

    async def run(self, operation_id: str, work: Coroutine[Any, Any, TaskResult], stopped: TaskResult) -> TaskResult:
        """Return the outcome of the work, or `stopped` if `cancel` ended it. An error of the work is raised."""
        task = self._tasks[operation_id] = tasks.start(contained(work), "operation")
        task.add_done_callback(lambda _: work.close())  # a cancel before its first step leaves it unawaited
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            self._tasks.pop(operation_id, None)
            self._undisturbed.pop(operation_id, None)
        return stopped if task.cancelled() else task.result()

    def cancel(self, operation_id: str) -> asyncio.Task[TaskResult] | None:
        """Cancel the task of an operation and return it; None without one. A call while it is on its way back changes
        nothing. A later one cancels it again: its way back hangs.
        """
        task, now = self._tasks.get(operation_id), asyncio.get_running_loop().time()
        if task is not None and now >= self._undisturbed.get(operation_id, now):
            self._undisturbed[operation_id] = now + self._way_back
            task.cancel()
        return task
