"""A backend of hosts with engines: operations on containers beside those on the host.

A dead or undeclared engine leaves its host alone: the other operations of the target go on.
"""

from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from writ_agent.backends.port import Backend, Handler, TargetTestResult, Task, TaskResult
from writ_agent.backends.routed_backend import RoutedBackend
from writ_containers.container_handler import ContainerHandler, Engines
from writ_containers.container_operations import LISTINGS, OWN, SHARED
from writ_containers.engine.connection import engine_address
from writ_containers.engine.endpoint import SocketEndpoint
from writ_containers.engine.engine_connections import EngineConnections, Where
from writ_containers.engine.registries import Registries
from writ_containers.engine_survey import EngineSurvey, survey
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target


class BackendWithEngines(RoutedBackend):
    """A backend of hosts, with the operations on a target's engine (`docker` in its entry)."""

    def __init__(self, backend: Backend, engines: Engines) -> None:
        self.containers = ContainerHandler(engines)
        super().__init__(backend, dict.fromkeys(OWN, self.containers))
        self._engines = engines

    async def listing(self, target: Target, source: str) -> list[str]:
        """List names of the engine by the engine, others by the backend."""
        if source in LISTINGS and target.docker is not None:
            return await self.containers.listing(target, source)
        return await super().listing(target, source)

    async def settle(self, task: Task) -> TaskResult | None:
        """Settle by the host. An operation of both kinds, without its parameters, may be one of the engine, which left
        no mark on the host: then settle by processes here, and by a probe.
        """
        settled = await super().settle(task)
        if settled is not None and task.operation.name in SHARED and settled.effect == "none":
            return None
        return settled

    async def test_target(self, target: Target) -> TargetTestResult:
        """Test the host; an engine without an answer is lacking, and no failure of the target."""
        found = await super().test_target(target)
        if found.code:
            return found
        own = set(found.operations) - OWN
        try:
            async with self._engines.engine(target) as engine:
                surveyed = await survey(engine, target)
        except WritError as error:
            lacking = dict.fromkeys(OWN, str(error)[:500])
            return replace(found, operations=sorted(own), lacking=found.lacking | lacking)
        lacking = self._lacking(surveyed)
        operations = own | (OWN - lacking.keys())
        versions = {name: text for name, text in surveyed.versions.items() if name != "os"}
        return replace(
            found,
            versions=found.versions | versions,
            operations=sorted(operations),
            lacking=found.lacking | lacking,
            fails=found.fails | {name: failing for name, failing in surveyed.fails.items() if name in OWN},
        )

    def _of(self, task: Task) -> Handler:
        """An operation of both kinds is the engine's where it names a container."""
        if task.operation.name in SHARED and task.parameters.get("container_name"):
            return self.containers
        return super()._of(task)

    def _lacking(self, surveyed: EngineSurvey) -> dict[str, str]:
        if surveyed.problem:
            return dict.fromkeys(OWN, surveyed.problem)
        return {name: why for name, why in surveyed.lacking.items() if name in OWN}


def local_engines(registries: Registries, own: Iterable[Path] = ()) -> EngineConnections:
    """Return the engines whose sockets are on this machine, as the targets declare them. `own`: files of Writ here."""

    def locate(target: Target) -> Where:
        address = engine_address(target)
        return address, SocketEndpoint(address.socket)

    return EngineConnections(locate, registries, own)
