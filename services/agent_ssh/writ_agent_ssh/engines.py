"""Engines on hosts: each engine's socket is forwarded over the kept SSH connection into a private local folder.

A local socket, rather than a stream per request, because Docker's command line (Compose) must reach the engine as well.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from writ_agent.backends.turn_waits import TurnWait
from writ_agent_ssh.backend import SshBackend
from writ_agent_ssh.connection.link import SocketForward, SshLink
from writ_agent_ssh.host_sessions.pool import Pool
from writ_agent_ssh.settings import connection_of
from writ_agent_ssh.socket_folder import SocketFolder
from writ_containers.compose.parse import LARGEST
from writ_containers.engine.api import Engine
from writ_containers.engine.connection import EngineAddress, engine_address
from writ_containers.engine.endpoint import SocketEndpoint
from writ_containers.engine.registries import Registries
from writ_containers.engine.stack_files import DiskSpace, StackFile, StackFiles, stack_folder
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target
from writ_hostops.own_paths import USERS_HOSTOPS


class HostStackFiles:
    """The stack folder is on the host of the target."""

    def __init__(self, hosts: SshBackend) -> None:
        self._hosts = hosts

    async def read(self, target: Target, name: str) -> StackFile:
        """Read the file through hostops, which follows no link."""
        folder = stack_folder(target)
        return StackFile(*await self._hosts.read_text(target, folder, f"{folder.rstrip('/')}/{name}", LARGEST + 1))

    async def space(self, target: Target, folder: str) -> DiskSpace | None:
        """Return the space through hostops; None for a host without Python."""
        found = await self._hosts.disk_space(target, folder)
        return None if found is None else DiskSpace(*found)


class _ForwardedEngine:
    """An engine over one connection; the last of its users closes it once another has replaced it."""

    def __init__(self, link: SshLink, address: EngineAddress, forward: SocketForward, engine: Engine) -> None:
        self.link, self.address, self.engine = link, address, engine
        self._forward = forward
        self.users = 0
        self.replaced = False
        self.answered = True

    async def close_unused(self) -> None:
        if self.replaced and not self.users:
            await self.close()

    async def close(self) -> None:
        self._forward.close()
        await self.engine.close()


class ForwardedEngines:
    """The engines of hosts, by target, each behind a forwarded socket."""

    def __init__(self, pool: Pool, registries: Registries, stack_files: StackFiles) -> None:
        self._pool, self._registries, self._stack_files = pool, registries, stack_files
        self._folder = SocketFolder()
        self._forwarded: dict[str, _ForwardedEngine] = {}
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._made = 0

    @asynccontextmanager
    async def engine(self, target: Target, wait: TurnWait | None = None, /) -> AsyncIterator[Engine]:
        address = engine_address(target)
        async with self._pool.lease(target, wait) as link:
            forwarded = await self._of(target, link, address)
            forwarded.users += 1
            try:
                yield forwarded.engine
            except WritError:
                forwarded.answered = False  # the next one first checks on the host that the socket exists
                raise
            finally:
                forwarded.users -= 1
                await forwarded.close_unused()

    async def close(self) -> None:
        forwarded = [*self._forwarded.values()]
        self._forwarded.clear()
        for one in forwarded:
            await one.close()
        self._folder.remove()

    async def _of(self, target: Target, link: SshLink, address: EngineAddress) -> _ForwardedEngine:
        name = target.id
        async with self._opening[name]:
            known = self._forwarded.get(name)
            if known is not None and known.link is link and known.address == address:
                if not known.answered:
                    await link.check_socket(address.socket, address.connect_timeout)
                    known.answered = True
                return known
            await link.check_socket(address.socket, address.connect_timeout)
            self._forwarded[name] = made = await self._open(target, link, address)
            if known is not None:
                known.replaced = True
                await known.close_unused()
            return made

    async def _open(self, target: Target, link: SshLink, address: EngineAddress) -> _ForwardedEngine:
        self._made += 1
        connection = connection_of(target)
        own = [USERS_HOSTOPS.format(user=connection.user), *filter(None, [connection.folder])]
        path = str(self._folder.path / str(self._made))
        forward = await link.forward_socket(path, address.socket)
        try:
            engine = Engine(SocketEndpoint(path), address, self._registries, self._stack_files, own)
        except BaseException:
            forward.close()
            raise
        return _ForwardedEngine(link, address, forward, engine)
