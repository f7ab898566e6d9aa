"""The parts of the policy service, put together; what runs beside the endpoints, and its health checks."""

import asyncio
import time
from collections.abc import Mapping
from importlib.metadata import version

from writ_bus.port import Bus, Serving
from writ_contracts.operations import Catalogue
from writ_policy.config import Config
from writ_policy.follower import Follower
from writ_policy.handlers import Clock, Handlers
from writ_policy.measures import Measures
from writ_policy.sources import Sources
from writ_runtime.health import Attention, Check
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics, Observer
from writ_trust.keys import Key


class PolicyService:
    """One replica: reads its files, follows the control events, decides."""

    def __init__(
        self, config: Config, catalogue: Catalogue, key: Key, measured: Metrics, clock: Clock = time.time
    ) -> None:
        """Raises ConfigError with all that is wrong with the files."""
        self._clock = clock
        self._config, self._catalogue, self._key = config, catalogue, key
        self._observe = Observer(Log("writ.policy"), measured)
        self._measures = Measures(measured, catalogue)
        self._sources = Sources(config, catalogue, self._measures.refused, self._measures.in_force)
        self._bus: Bus | None = None
        self._follower: Follower | None = None
        self._serving: Serving | None = None

    async def serve(self, bus: Bus) -> None:
        """Know the control events so far, then answer. Raises what the bus raises."""
        self._bus, self._follower = bus, Follower(bus.journal, self._key.public)
        await self._follower.read()
        handlers = Handlers(
            self._sources,
            self._follower,
            self._catalogue,
            self._key,
            self._measures,
            self._observe,
            dry_run_only=self._config.dry_run_only,
            clock=self._clock,
        )
        self._serving = await bus.serve(handlers.service(version("writ-policy")))

    async def follow(self) -> None:
        """Keep up with files and control events, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sources.follow())
            if self._follower is not None:
                group.create_task(self._follower.follow())

    async def stop(self) -> None:
        """Take no new questions; answer those that came."""
        if self._serving is not None:
            await self._serving.close()

    def checks(self) -> Mapping[str, Check]:
        """What `/readyz` looks at. A file that can't be used is told; its last good version still decides."""
        return {
            "policy": lambda: self._file_check("policy"),
            "inventory": lambda: self._file_check("inventory"),
            "principals": lambda: self._file_check("principals"),
            "agents": lambda: self._file_check("agents"),
            "bus": self._bus_check,
        }

    async def _file_check(self, name: str) -> str | None:
        problem = self._sources.problem(name)
        return None if problem is None else Attention(f"the last good version is in force: {problem}"[:1000])

    async def _bus_check(self) -> str | None:
        if self._bus is None or not self._bus.connected:
            return "not connected to NATS"
        return self._follower.problem if self._follower is not None else "not following the control events"
