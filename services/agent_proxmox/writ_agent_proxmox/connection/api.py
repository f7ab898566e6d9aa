"""The API of one target from asyncio: a bounded pool of threads for each node, so a dead node blocks only itself.

A sent call is never cancelled: its thread ends by its own time-outs, and the caller learns the reply.
"""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from writ_agent.backends.silence_watch import SharedPing
from writ_agent_proxmox.connection.credentials import ApiToken, ProxmoxTokens
from writ_agent_proxmox.connection.session import READ_SECONDS, ApiSession
from writ_agent_proxmox.settings import ProxmoxConnection, connection_of
from writ_contracts.errors import Full, Unreachable, WritError
from writ_contracts.inventory import Target

THREADS = 4
PING_SECONDS = 3.0
MOST_WAITING = 128
MOST_LANES = 65
"""Nodes of one cluster, and one lane for what concerns none."""
TRIES = 2
_SILENT = frozenset({"no_reply", "unreachable"})
"""Codes of an API without a reply."""


class Lane:
    """The threads for one node, each with a session of its own."""

    def __init__(
        self,
        connection: ProxmoxConnection,
        token: ApiToken,
        node: str,
        threads: int = THREADS,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._connection, self._token, self._read_seconds = connection, token, read_seconds
        self._own = threading.local()
        self._all: list[ApiSession] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"proxmox-{node}")
        self.waiting = 0

    async def call(self, method: str, path: tuple[object, ...], parameters: Mapping[str, Any]) -> Any:
        """Return the reply's data. Raises the errors of Session.call, and Full."""
        if self.waiting >= MOST_WAITING:
            raise Full(f"{self._connection.where}: too many API calls wait for one node")
        self.waiting += 1
        try:
            running = asyncio.get_running_loop().run_in_executor(self._pool, self._call, method, path, parameters)
            return await asyncio.shield(running)
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """Begin nothing more; threads end with their present call."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.rest()

    def rest(self) -> None:
        """Close unused connections."""
        for session in list(self._all):
            session.close()

    def _call(self, method: str, path: tuple[object, ...], parameters: Mapping[str, Any]) -> Any:
        session: ApiSession | None = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = ApiSession(self._connection, self._token, self._read_seconds)
            self._all.append(session)
        return session.call(method, path, parameters)


class Api:
    """The API of one target, by one address and token."""

    def __init__(self, connection: ProxmoxConnection, token: ApiToken) -> None:
        self.connection, self.token = connection, token
        self._lanes: dict[str, Lane] = {}
        self._ping_lane: Lane | None = None
        self._pings = SharedPing(self._ping)

    async def is_silent(self) -> bool:
        """Return whether the API does not reply within `PING_SECONDS`. A refusal is a reply."""
        return await self._pings.is_silent(PING_SECONDS)

    async def _ping(self) -> bool:
        """Ping beside all other calls: neither do they keep it waiting, nor it them."""
        if self._ping_lane is None:
            self._ping_lane = Lane(self.connection, self.token, "ping", threads=1, read_seconds=PING_SECONDS)
        try:
            await self._ping_lane.call("get", ("version",), {})
        except Unreachable as error:
            if error.code not in _SILENT:
                return False
            await asyncio.sleep(PING_SECONDS / 2)  # not at once: the caller pings again
            return True
        except WritError:
            return False
        return False

    async def get(self, *path: object, **parameters: Any) -> Any:
        """Read; tried again once where the connection broke. Raises WritError."""
        for left in reversed(range(TRIES)):
            try:
                return await self._lane(path).call("get", path, parameters)
            except Unreachable as error:
                if not left or error.code != "no_reply":
                    raise
        raise AssertionError

    async def change(self, method: str, *path: object, **parameters: Any) -> Any:
        """Change, once. Raises WritError; TimedOut where the effect is unknown."""
        return await self._lane(path).call(method, path, parameters)

    def rest(self) -> None:
        """Close unused connections. A caller that still follows a task here opens another one."""
        for lane in self._all_lanes():
            lane.rest()

    def close(self) -> None:
        """Close all connections, and begin nothing more."""
        for lane in self._all_lanes():
            lane.close()
        self._lanes.clear()
        self._ping_lane = None

    def _all_lanes(self) -> list[Lane]:
        return [*self._lanes.values(), *([self._ping_lane] if self._ping_lane is not None else [])]

    def _lane(self, path: tuple[object, ...]) -> Lane:
        node = str(path[1]) if len(path) > 1 and path[0] == "nodes" else ""
        if node not in self._lanes and len(self._lanes) >= MOST_LANES:
            node = next(iter(self._lanes))
        if node not in self._lanes:
            self._lanes[node] = Lane(self.connection, self.token, node)
        return self._lanes[node]


class Apis:
    """APIs by target; replaced when the connection or the token of a target changes."""

    def __init__(self, credentials: ProxmoxTokens) -> None:
        self._credentials = credentials
        self._by_target: dict[str, Api] = {}

    def of(self, target: Target) -> Api:
        """Return the target's. Raises Invalid (`invalid_connection`, `no_credentials`)."""
        connection, token = connection_of(target), self._credentials.of(target.id)
        api = self._by_target.get(target.id)
        if api is None or (api.connection, api.token) != (connection, token):
            if api is not None:
                api.rest()
            api = self._by_target[target.id] = Api(connection, token)
        return api

    def close(self) -> None:
        for api in self._by_target.values():
            api.close()
        self._by_target.clear()
