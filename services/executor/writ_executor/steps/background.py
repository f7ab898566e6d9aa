"""Work that goes on after its handler has answered; tracked, so that a stop can wait for it and no error is lost."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from writ_contracts.errors import Conflict, WritError
from writ_runtime.logs import Log

_log = Log("writ.executor")


class BackgroundTasks:
    """A set of running tasks. What one leaves undone the sweep takes up again, so an error here is said, not fatal."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        """Go on with `work` in a task of its own."""
        task = asyncio.create_task(self._guard(name, work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self, grace: float = 8.0) -> None:
        """Give what is under way `grace` seconds to end, and end the rest: the sweep of another replica takes it up."""
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
        except Exception as error:  # noqa: BLE001 - the last frame of its task; a defect is logged whole
            _log.error("background.crashed", task=name, exception=error)
