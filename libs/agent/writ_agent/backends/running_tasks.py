"""The running operations of a handler inside the agent's process: one task each, which a stop cancels."""

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

from writ_agent.backends.bounded_call import contained
from writ_agent.backends.port import TaskResult
from writ_bus import tasks


class RunningTasks:
    """The tasks by operation id. The caller of `run` and a stop may both cancel a task."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[TaskResult]] = {}
        self._stopped = set[str]()

    @property
    def operations(self) -> Collection[str]:
        return self._tasks.keys()

    async def run(self, operation_id: str, work: Coroutine[Any, Any, TaskResult], stopped: TaskResult) -> TaskResult:
        """Return the outcome of the work, or `stopped` if `cancel` ended it. An error of the work is raised."""
        task = self._tasks[operation_id] = tasks.start(contained(work), "operation")
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            self._tasks.pop(operation_id, None)
            self._stopped.discard(operation_id)
        return stopped if task.cancelled() else task.result()

    def cancel(self, operation_id: str) -> asyncio.Task[TaskResult] | None:
        """Cancel the task of an operation and return it; None without one. A second call changes nothing: it would
        interrupt the way back.
        """
        task = self._tasks.get(operation_id)
        if task is not None and operation_id not in self._stopped:
            self._stopped.add(operation_id)
            task.cancel()
        return task
