"""The backend `docker`: operations on engines, over a kept connection to each. Nothing ever runs here.

An engine that does not answer takes the time of its own operations alone: each target has a connection of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from writ_agent.backends.port import Done, Probed, Progress, TargetTestResult, Task
from writ_agent.backends.target_health import TargetHealth
from writ_agent_docker.engines import Engines
from writ_agent_docker.target_test import find
from writ_bus import tasks
from writ_containers import container_operations
from writ_containers.engine import Engine
from writ_containers.registries import Registries
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target

AWAY = frozenset({"unreachable", "no_credentials", "invalid_connection"})
"""Codes of what kept us from an engine; others are about one operation on it."""


class DockerBackend:
    """`credentials`: the folder that names the targets of this agent."""

    name = "docker"

    def __init__(self, credentials: Path, registries: Registries | None = None) -> None:
        self.operations: Collection[str] = container_operations.OPERATIONS
        self.target_health = TargetHealth()
        self._engines = Engines(credentials, registries or Registries())
        self._runs: dict[str, asyncio.Task[Done]] = {}

    async def run(self, task: Task, progress: Progress) -> Done:
        """See Handler."""
        run = self._runs[task.operation_id] = tasks.start(self._run(task, progress), "operation")
        try:
            await asyncio.wait({run})
        except asyncio.CancelledError:
            run.cancel()
            raise
        finally:
            self._runs.pop(task.operation_id, None)
        if run.cancelled():
            return Done(outcome="cancelled", code="cancelled", message="it was stopped before it was begun")
        return run.result()

    async def stop(self, operation_id: str, grace: float) -> bool:
        """See Handler. A request to an engine ends with its connection; only a stop goes on there without us."""
        run = self._runs.get(operation_id)
        if run is None:
            return True
        run.cancel()
        await asyncio.wait({run}, timeout=grace + 1.0)
        return run.done() and (run.cancelled() or run.exception() is not None or run.result().over)

    async def baseline(self, task: Task) -> dict[str, Any]:
        """See Baselines."""
        async with self._engine(task.target) as engine:
            return await container_operations.baseline(engine, task)

    async def preview(self, task: Task) -> dict[str, Any]:
        """See Previews."""
        async with self._engine(task.target) as engine:
            return await container_operations.preview(engine, task)

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> Probed:
        """See Probes."""
        async with self._engine(task.target) as engine:
            return await container_operations.probe(engine, task, baseline)

    async def listing(self, target: Target, source: str) -> list[str]:
        """See Listings."""
        async with self._engine(target) as engine:
            return await container_operations.listing(engine, source)

    async def test_target(self, target: Target) -> TargetTestResult:
        """See TargetTester."""
        found = await find(self._engines, target, self.operations)
        self.target_health.record(target.id, found.code)
        return found

    async def check(self) -> str | None:
        """Always ready; how each engine was found last is a check of its own."""
        return None

    async def close(self) -> None:
        """End all connections."""
        await self._engines.close()

    async def _run(self, task: Task, progress: Progress) -> Done:
        async with self._engine(task.target) as engine:
            return await container_operations.run(engine, task, progress)

    @asynccontextmanager
    async def _engine(self, target: Target) -> AsyncIterator[Engine]:
        """The target's engine; what kept us from it shows in its health."""
        try:
            yield self._engines.engine(target)
        except WritError as error:
            self.target_health.record(target.id, error.code if error.code in AWAY else "")
            raise
        self.target_health.record(target.id, "")
