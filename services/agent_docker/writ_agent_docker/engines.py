"""One kept connection for each target, made again where the inventory says something else of the engine."""

from pathlib import Path

from writ_containers.connection import Connection, connection_of
from writ_containers.engine import Engine
from writ_containers.registries import Registries
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target

MOST = 500
"""Engines with a kept connection; the one that was opened first is closed beyond that."""


class Engines:
    """`credentials`: a folder with a file for each target that is served here, named as the target."""

    def __init__(self, credentials: Path, registries: Registries) -> None:
        self._credentials = credentials
        self._registries = registries
        self._open: dict[str, tuple[Connection, Engine]] = {}
        self._former: list[Engine] = []

    def engine(self, target: Target) -> Engine:
        """Return its engine; nothing is sent yet. Raises Invalid (`no_credentials`, `invalid_connection`)."""
        connection = self.connection(target)
        known = self._open.get(target.id)
        if known is not None and known[0] == connection:
            return known[1]
        if known is not None or len(self._open) >= MOST:
            name = target.id if known is not None else next(iter(self._open))
            self._former.append(self._open.pop(name)[1])
        self._open[target.id] = connection, Engine(connection, self._registries)
        return self._open[target.id][1]

    def connection(self, target: Target) -> Connection:
        """Return how it is reached. Raises Invalid.

        Any folder could hold a socket: an agent goes only where the owner of its host has put down the target's name.
        """
        if not (self._credentials / target.id).is_file():
            message = f"target {target.id} is not served by this agent: there is no file of that name in"
            raise Invalid(f"{message} {self._credentials}", code="no_credentials")
        return connection_of(target)

    async def close(self) -> None:
        """End all connections."""
        engines = [*self._former, *(engine for _, engine in self._open.values())]
        self._open.clear()
        self._former.clear()
        for engine in engines:
            await engine.close()
