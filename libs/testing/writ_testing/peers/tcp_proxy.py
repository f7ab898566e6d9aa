"""A TCP proxy on loopback that can close its connections, or stop without closing: a silent network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TcpProxy:
    """Forwards to one port until `stall` or `cut`. A stalled connection stays open."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._clients: list[asyncio.StreamWriter] = []
        self.accepted = 0
        self.port = 0

    def stall(self) -> None:
        """Let nothing pass from now on, on present and new connections."""
        self._flowing.clear()

    def cut(self) -> None:
        """Close every connection, and let nothing pass on new ones."""
        self._flowing.clear()
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        self._clients.clear()

    def inject(self, data: bytes) -> None:
        """Send these bytes to every client, as if from the server."""
        for writer in self._clients:
            writer.write(data)

    def flow(self) -> None:
        """Let new connections pass again; old ones stay silent, as after a router forgot them."""
        for task in self._tasks:
            task.cancel()
        self._flowing.set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._accept(reader, writer))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.append(writer)
        self._clients.append(writer)
        await self._flowing.wait()
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except ConnectionRefusedError:
            writer.close()
            return
        self._writers.append(to_writer)
        for source, sink in ((reader, to_writer), (to_reader, writer)):
            task = asyncio.create_task(self._forward(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            return
        finally:
            if self._flowing.is_set():
                sink.close()

    async def close(self) -> None:
        """End all forwarding, after pending accepts."""
        for tasks in (self._accepting, self._tasks):
            ending = list(tasks)
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def tcp_proxy(to_port: int) -> AsyncIterator[TcpProxy]:
    proxy = TcpProxy(to_port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
