"""A handler from one coroutine function, for plugins: the shortest way to a new operation."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from writ_agent.backends.port import Effect, Progress, Task, TaskResult
from writ_agent.backends.processes import end
from writ_agent.backends.running_tasks import RunningTasks

Function = Callable[[Task, Progress], Awaitable[TaskResult]]


class CoroutineHandler:
    """A handler from a coroutine function. A stop cancels the function and ends every process of the operation
    (`processes.marked_environ`).

    The function may catch the cancellation and return a Done with its effect; otherwise the effect is `maybe`.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self._running = RunningTasks()

    @property
    def running(self) -> Collection[str]:
        return self._running.operations

    async def run(self, task: Task, progress: Progress) -> TaskResult:
        effect: Effect = "none" if task.operation.read_only else "maybe"
        stopped = TaskResult(outcome="cancelled", code="cancelled", effect=effect)
        return await self._running.run(task.operation_id, self._call(task, progress), stopped)

    async def _call(self, task: Task, progress: Progress) -> TaskResult:
        return await self._function(task, progress)

    async def stop(self, operation_id: str, grace: float) -> bool:
        run = self._running.cancel(operation_id)
        if run is None:
            return True
        gone = await end(operation_id, grace)
        await asyncio.wait({run}, timeout=1.0)
        return gone and run.done()
