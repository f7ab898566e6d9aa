"""A handler from one coroutine function, for plugins: the shortest way to a new operation."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from writ_agent.backends.port import Done, Progress, Task
from writ_agent.backends.processes import end
from writ_bus import tasks

Function = Callable[[Task, Progress], Awaitable[Done]]


class CoroutineHandler:
    """A handler from a coroutine function. A stop cancels the function and ends every process of the operation
    (`processes.marked`).

    The function may catch the cancellation and return a Done with its effect; otherwise the effect is `maybe`.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self._runs: dict[str, asyncio.Future[Done]] = {}

    @property
    def running(self) -> Collection[str]:
        """Return the running operations."""
        return self._runs.keys()

    async def run(self, task: Task, progress: Progress) -> Done:
        run = self._runs[task.operation_id] = tasks.start(self._call(task, progress), "operation")
        try:
            await asyncio.wait({run})
        except asyncio.CancelledError:
            run.cancel()
            raise
        finally:
            self._runs.pop(task.operation_id, None)
        if run.cancelled():
            return Done(outcome="cancelled", code="cancelled", effect="none" if task.operation.read_only else "maybe")
        return run.result()

    async def _call(self, task: Task, progress: Progress) -> Done:
        return await self._function(task, progress)

    async def stop(self, operation_id: str, grace: float) -> bool:
        run = self._runs.get(operation_id)
        if run is None:
            return True
        run.cancel()
        gone = await end(operation_id, grace)
        await asyncio.wait({run}, timeout=1.0)
        return gone and run.done()
