"""The backend `docker`: operations on engines, over a kept connection to each."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from writ_agent.backends.port import TargetTestResult
from writ_agent.backends.target_health import TargetHealth
from writ_agent.backends.turn_waits import TurnWait
from writ_agent_docker.engines import engines_of
from writ_agent_docker.target_test import tested
from writ_containers.container_handler import ContainerHandler
from writ_containers.engine.api import Engine
from writ_containers.engine.engine_connections import EngineConnections
from writ_containers.engine.registries import Registries
from writ_contracts.backends import DOCKER
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target

AWAY = frozenset({"unreachable", "no_credentials", "invalid_connection", "certificate_changed"})
"""Codes of what kept us from an engine; others are about one operation on it."""


class DockerBackend(ContainerHandler):
    """The backend of Docker engines. `credentials`: the folder with a file for each target of this agent. `own`: files
    of Writ on this machine.
    """

    name = DOCKER

    def __init__(self, credentials: Path, registries: Registries | None = None, own: Iterable[Path] = ()) -> None:
        self.target_health = TargetHealth()
        self._kept = engines_of(credentials, registries or Registries(), own)
        super().__init__(_ObservedEngines(self._kept, self.target_health))

    async def test_target(self, target: Target) -> TargetTestResult:
        found = await tested(self._kept, target, self.operations)
        self.target_health.record(target.id, found.code)
        return found

    async def check(self) -> str | None:
        """Report the backend as ready, always: the last result of each engine is a check of its own."""
        return None


class _ObservedEngines:
    """The kept engines; the reason for which one was not reached shows in its health."""

    def __init__(self, engines: EngineConnections, target_health: TargetHealth) -> None:
        self._engines, self._target_health = engines, target_health

    @asynccontextmanager
    async def engine(self, target: Target, _wait: TurnWait | None = None, /) -> AsyncIterator[Engine]:
        try:
            async with self._engines.engine(target) as engine:
                yield engine
        except WritError as error:
            self._target_health.record(target.id, error.code if error.code in AWAY else "")
            raise
        self._target_health.record(target.id, "")

    async def close(self) -> None:
        await self._engines.close()
