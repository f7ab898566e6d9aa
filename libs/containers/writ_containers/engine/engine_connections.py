"""One kept connection for each target, made again where the inventory or a file says something else of the engine."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from writ_agent.backends.turn_waits import TurnWait
from writ_agent.own_files import spellings
from writ_containers.engine.api import Engine
from writ_containers.engine.connection import EngineAddress
from writ_containers.engine.endpoint import Endpoint, SocketEndpoint
from writ_containers.engine.registries import Registries
from writ_contracts.inventory import Target

MOST = 500
"""Engines with a kept connection; the one that was opened first is closed beyond that."""
Where = tuple[EngineAddress, Endpoint]


class _SharedEngine:
    """An engine with the number of its users: it is closed by the last of them once another has replaced it."""

    def __init__(self, where: Where, engine: Engine) -> None:
        self.where, self.engine = where, engine
        self.users = 0
        self.replaced = False

    async def close_unused(self) -> None:
        if self.replaced and not self.users:
            await self.engine.close()


class EngineConnections:
    """Kept connections to engines, by target. `locate` raises WritError for a target not served here. `own`: files of
    Writ on this machine.
    """

    def __init__(
        self, locate: Callable[[Target], Where], registries: Registries | None = None, own: Iterable[Path] = ()
    ) -> None:
        self._locate = locate
        self._own = spellings(own)
        self._registries = registries or Registries()
        self._kept: dict[str, _SharedEngine] = {}

    @asynccontextmanager
    async def engine(self, target: Target, _wait: TurnWait | None = None, /) -> AsyncIterator[Engine]:
        """Return the engine of a target. Nothing is sent yet."""
        kept = await self._of(target.id, self._locate(target))
        kept.users += 1
        try:
            yield kept.engine
        finally:
            kept.users -= 1
            await kept.close_unused()

    @asynccontextmanager
    async def fresh(self, target: Target) -> AsyncIterator[Engine]:
        """Return an engine with a connection of its own, for a test."""
        engine = self._made(self._locate(target))
        try:
            yield engine
        finally:
            await engine.close()

    async def close(self) -> None:
        kept = [*self._kept.values()]
        self._kept.clear()
        for one in kept:
            await one.engine.close()

    async def _of(self, name: str, where: Where) -> _SharedEngine:
        known = self._kept.get(name)
        if known is not None and known.where == where:
            return known
        made = _SharedEngine(where, self._made(where))
        if known is None and len(self._kept) >= MOST:
            name_of_first = next(iter(self._kept))
            known = self._kept.pop(name_of_first)
        self._kept[name] = made
        if known is not None:
            known.replaced = True
            await known.close_unused()
        return made

    def _made(self, where: Where) -> Engine:
        address, endpoint = where
        own = self._own if isinstance(endpoint, SocketEndpoint) else ()
        return Engine(endpoint, address, self._registries, own=own)
