"""Network links, failing one at a time: TCP proxies on loopback which know the process behind each connection.

links = Links(lambda: {pid: name, ...})
port = await links.listen("nats", server_port)
links.fail("executor-1", "nats", "silent")
links.heal()
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

Fault = Literal["cut", "silent", "no_answers", "slow"]
"""`cut`: connections are reset, new ones too. `silent`: nothing passes, connections stay open, and what was sent
arrives after the link heals. `no_answers`: the same for the way back alone. `slow`: each piece takes DELAY longer.
"""
DELAY = 0.5
"""Seconds, each way; up to twice that behind another piece. So two requests in a row take less than the 5 s for which
an agent waits for a reply.
"""
PIECE = 65_536
Names = Callable[[], Mapping[int, str]]


class ProxiedConnection:
    """One proxied connection. `inode`: of the socket of the process that opened it."""

    def __init__(self, target: str, inode: str, writer: asyncio.StreamWriter) -> None:
        self.target = target
        self.inode = inode
        self.writers = [writer]

    def reset(self) -> None:
        """Close both ends without a word."""
        for writer in self.writers:
            writer.transport.abort()


class Links:
    """All proxies of a test, and the faults between processes (by name, `*` allowed) and targets."""

    def __init__(self, names: Names) -> None:
        """`names`: the processes known now, by pid."""
        self._names = names
        self._owners: dict[str, str] = {}
        self._faults: list[tuple[str, str, Fault]] = []
        self._changed = asyncio.Event()
        self._connections: set[ProxiedConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    async def listen(self, target: str, to_port: int) -> int:
        """Return the port of a new proxy to this port of the target."""

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._spawn(self._serve(target, to_port, reader, writer))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def fail(self, source: str, target: str, fault: Fault) -> None:
        """Let the link from a process to a target fail, until `heal`."""
        self._faults.append((source, target, fault))
        self._owners = _owners(self._names())
        for connection in [one for one in self._connections if self._fault(one) == "cut"]:
            connection.reset()
        self._wake()

    def heal(self) -> None:
        """Let everything pass again, with what was held back."""
        self._faults.clear()
        self._wake()

    def connected(self, source: str) -> list[str]:
        """Return the targets of a process's connections."""
        self._owners = _owners(self._names())
        return sorted(one.target for one in self._connections if fnmatch(self._owners.get(one.inode, ""), source))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _fault(self, connection: ProxiedConnection) -> Fault | None:
        if not self._faults:
            return None
        if connection.inode not in self._owners:
            self._owners |= _owners(self._names())
        source = self._owners.get(connection.inode, "")
        found = (how for of, to, how in self._faults if fnmatch(source, of) and fnmatch(connection.target, to))
        return next(found, None)

    async def _serve(
        self, target: str, to_port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with self._connection(target, writer) as connection:
            while self._fault(connection) == "silent":
                await self._changed.wait()
            if self._fault(connection) == "cut":
                return
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", to_port)
            connection.writers.append(to_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(connection, reader, to_writer, answers=False))
                both.create_task(self._forward(connection, to_reader, writer, answers=True))

    @contextmanager
    def _connection(self, target: str, writer: asyncio.StreamWriter) -> Iterator[ProxiedConnection]:
        connection = ProxiedConnection(target, _inode(writer), writer)
        self._connections.add(connection)
        try:
            with suppress(ConnectionError, TimeoutError):  # either end went away
                yield connection
        finally:
            self._connections.discard(connection)
            connection.reset()

    async def _forward(
        self,
        connection: ProxiedConnection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        answers: bool,
    ) -> None:
        with suppress(ConnectionError, TimeoutError):
            while data := await reader.read(PIECE):
                await self._passes(connection, answers=answers)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _passes(self, connection: ProxiedConnection, *, answers: bool) -> None:
        while (fault := self._fault(connection)) == "silent" or (fault == "no_answers" and answers):
            await self._changed.wait()
        if fault == "slow":
            await asyncio.sleep(DELAY)

    def _spawn(self, serving: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.create_task(serving)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        ending = list(self._tasks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


def _inode(writer: asyncio.StreamWriter) -> str:
    """Return the inode of the socket at the other end of an accepted connection, by proc(5)."""
    (own, own_port), (peer, peer_port) = (writer.get_extra_info(name)[:2] for name in ("sockname", "peername"))
    assert own == peer == "127.0.0.1", (own, peer)
    ends = [f"0100007F:{peer_port:04X}", f"0100007F:{own_port:04X}"]
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return next((row[9] for row in rows if row[1:3] == ends), "")


def _owners(names: Mapping[int, str]) -> dict[str, str]:
    """Return the name of the process of each socket, by inode."""
    found = dict[str, str]()
    for pid, name in names.items():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    found[str(link.readlink()).removeprefix("socket:[").removesuffix("]")] = name
    return found


@asynccontextmanager
async def running_links(names: Names) -> AsyncIterator[Links]:
    """Yield links, closed at the end."""
    links = Links(names)
    try:
        yield links
    finally:
        await links.close()
