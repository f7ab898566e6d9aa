"""The handler of all operations on engines, for every agent with a way to one. Nothing runs on the agent's host.

A dead engine delays only its own operations: each target has a connection of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Protocol, TypeVar

from writ_agent.backends.connection_retries import retried, retry_seconds
from writ_agent.backends.hostops_requests import LISTING_SECONDS
from writ_agent.backends.port import ProbeResult, Progress, Task, TaskResult
from writ_agent.backends.running_tasks import RunningTasks
from writ_agent.backends.silence_watch import TargetPings
from writ_agent.backends.turn_waits import TurnWait
from writ_containers import container_operations
from writ_containers.engine.api import Engine
from writ_containers.engine.connection import engine_address
from writ_contracts.inventory import Target

Result = TypeVar("Result")
STOP_SECONDS = 1.0
"""Seconds beyond the grace for the container to show how far an operation came."""


class Engines(Protocol):
    """The engines of targets."""

    def engine(self, target: Target, wait: TurnWait | None = None, /) -> AbstractAsyncContextManager[Engine]:
        """Return the target's engine, usable within the block. `wait`: counts the wait for a turn to connect. Raises
        WritError if it cannot be reached.
        """

    async def close(self) -> None: ...


class ContainerHandler:
    """A handler with baselines, probes, previews and listings."""

    def __init__(self, engines: Engines) -> None:
        self.operations: Collection[str] = container_operations.OPERATIONS
        self._engines = engines
        self._running = RunningTasks()
        self._turn_waits: dict[str, TurnWait] = {}

    async def run(self, task: Task, progress: Progress) -> TaskResult:
        stopped = TaskResult(outcome="cancelled", code="cancelled", message="it was cancelled before it began")
        wait = self._turn_waits[task.operation_id] = TurnWait()
        try:
            return await self._running.run(task.operation_id, self._run(task, progress, wait), stopped)
        finally:
            if self._turn_waits.get(task.operation_id) is wait:
                del self._turn_waits[task.operation_id]

    async def stop(self, operation_id: str, grace: float) -> bool:
        """See Handler. A request to an engine ends with its connection; only a stop goes on there without us."""
        run = self._running.cancel(operation_id)
        if run is None:
            return True
        await asyncio.wait({run}, timeout=grace + STOP_SECONDS)
        return run.done() and (run.cancelled() or run.exception() is not None or run.result().over)

    def queued_seconds(self, operation_id: str) -> float:
        """See Queues."""
        wait = self._turn_waits.get(operation_id)
        return 0.0 if wait is None else wait.seconds

    async def baseline(self, task: Task) -> dict[str, Any]:
        return await self._read(task.target, task.timeout, lambda engine: container_operations.baseline(engine, task))

    async def preview(self, task: Task) -> dict[str, Any]:
        return await self._read(task.target, task.timeout, lambda engine: container_operations.preview(engine, task))

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> ProbeResult:
        return await self._read(
            task.target, task.timeout, lambda engine: container_operations.probe(engine, task, baseline)
        )

    async def listing(self, target: Target, source: str) -> list[str]:
        return await self._read(
            target, LISTING_SECONDS, lambda engine: container_operations.listing(engine, target, source)
        )

    async def close(self) -> None:
        await self._engines.close()

    async def _run(self, task: Task, progress: Progress, wait: TurnWait) -> TaskResult:
        address = engine_address(task.target)
        seconds = retry_seconds(task, address.connect_retries, address.connect_timeout)
        watch = TargetPings(task, progress)

        async def attempt() -> TaskResult:
            async with AsyncExitStack() as stack:
                with watch.late(watch.unconnected, f"{task.target.id} replies"):
                    engine = await stack.enter_async_context(self._engines.engine(task.target, wait))
                with watch.running(engine.is_silent):
                    return await container_operations.run(engine, task, progress)

        return await retried(attempt, address.connect_retries, seconds, lambda: wait.seconds)

    async def _read(self, target: Target, seconds: float, read: Callable[[Engine], Awaitable[Result]]) -> Result:
        """Read on the target's engine. One out of reach is tried again for up to `seconds`: a read changes nothing."""

        async def attempt() -> Result:
            async with self._engines.engine(target) as engine:
                return await read(engine)

        return await retried(attempt, engine_address(target).connect_retries, seconds)
