"""Work that goes on after its handler has replied. It is tracked, so a stop waits for it and no error is lost."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from writ_bus import tasks
from writ_contracts.errors import Conflict, WritError
from writ_runtime.logs import Log

_log = Log("writ.executor")


class BackgroundTasks:
    """A set of running tasks. The sweep repeats unfinished steps, so errors are logged and not fatal; a defect is
    counted as well.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        """Run `work` in a task of its own."""
        task = tasks.spawn(self._guard(name, work), name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # of a task that was cancelled before its first step

    async def settle(self, grace: float = 8.0) -> None:
        """Wait `grace` seconds for running tasks, then cancel the rest. The sweep of another replica repeats them."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @staticmethod
    async def _guard(name: str, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Conflict as error:
            _log.debug("background.superseded", task=name, error=str(error))
        except WritError as error:
            _log.warning("background.postponed", task=name, code=error.code, error=str(error))
