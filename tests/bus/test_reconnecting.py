"""A client connects again, whatever ends its attempts; services run on uvloop, and so do these clients."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from writ_bus.errors import Unreachable
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.nats.client.guarded import GuardedClient
from writ_installation.processes.child import tie
from writ_nats_server.process import ServerProcess
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import anybody, open_server

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of a socket whose close resets the connection (socket(7))."""


class DyingServer:
    """A way to a server that passes bytes on, or sends the server's greeting and resets the connection."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._open: list[asyncio.StreamWriter] = []
        self.dies = False
        self.greetings = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to_port)
        self._open += [writer, to_server]
        if self.dies:
            writer.write(await from_server.readline())
            self.greetings += 1
            self._reset(writer, to_server)
        else:
            await asyncio.gather(_pass_on(reader, to_server), _pass_on(from_server, writer))

    def die(self) -> None:
        """Reset all connections, and each new one after its greeting."""
        self.dies = True
        self._reset(*self._open)

    def _reset(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            if not writer.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except ConnectionError:
        return
    finally:
        writer.close()


@asynccontextmanager
async def through_a_dying_server(folder: Path, client: str) -> AsyncIterator[tuple[DyingServer, NatsBus]]:
    """Yield a bus, and the way to its server."""
    async with open_server(folder) as (_, url):
        way = DyingServer(int(url.rpartition(":")[2]))
        async with await asyncio.start_server(way.accept, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            bus = await connect(anybody(f"nats://127.0.0.1:{port}", client=client, probe_every=0.1))
            yield way, bus
            await bus.close()


def on_uvloop(work: Coroutine[Any, Any, None]) -> None:
    """Run it as services run."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


@pytest.mark.parametrize("client", ["direct", "plain"])
def test_client_reconnects_after_a_server_that_greets_it_and_dies(tmp_path: Path, client: str) -> None:
    async def dies_three_times() -> None:
        async with through_a_dying_server(tmp_path, client) as (way, bus):
            way.die()

            async def greeted_again() -> bool:
                return way.greetings >= 3

            await eventually(greeted_again, what="three attempts")
            way.dies = False
            await eventually(lambda: _connected(bus), what="the connection")
            await bus.connection.round_trip(5.0)

    on_uvloop(dies_three_times())


@pytest.mark.parametrize("client", ["direct", "plain"])
def test_message_without_a_connection_is_refused_in_words_about_the_connection(tmp_path: Path, client: str) -> None:
    """nats-py reports a full outbound buffer, since nothing is buffered."""

    async def work() -> None:
        async with through_a_dying_server(tmp_path, client) as (way, bus):
            way.die()
            await eventually(lambda: _true(not bus.connected), within=20)
            for sending in (bus.publish("x", b""), bus.request("x", b"", timeout=0.2), bus.ping(1.0)):
                with pytest.raises(Unreachable, match=r"^the connection to NATS is lost; it is made again as soon as"):
                    await sending

    on_uvloop(work())


def test_watchdog_restarts_a_reconnect_that_ended_in_the_middle_of_a_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handshake, broken = GuardedClient._process_connect_init, 0

    async def breaks_once(client: GuardedClient) -> None:
        nonlocal broken
        if client._subs and not broken:  # so it reconnects
            broken += 1
            client._status = client.CONNECTING
            raise LookupError("nothing expects it")
        await handshake(client)

    monkeypatch.setattr(GuardedClient, "_process_connect_init", breaks_once)

    async def breaks() -> None:
        async with through_a_dying_server(tmp_path, "direct") as (way, bus):
            way.die()
            way.dies = False
            await eventually(lambda: _true(broken == 1), what="the broken handshake")
            await eventually(lambda: _connected(bus), what="the connection")

    on_uvloop(breaks())


async def _connected(bus: NatsBus) -> bool:
    return bus.connected


async def _true(value: bool) -> bool:
    return value


@pytest.mark.parametrize("client", ["direct", "plain"])
async def test_a_bus_names_its_server_and_another_start_of_it_has_another_name(tmp_path: Path, client: str) -> None:
    config = tmp_path / "open.conf"
    async with open_server(tmp_path) as (process, url):
        bus = await connect(anybody(url, client=client))
        first = bus.server
        assert first
        await process.stop()
        port, monitor = (int(number) for number in re.findall(r":.*?(\d{4,})$", config.read_text(), re.MULTILINE))
        again = await ServerProcess.start(
            config, tmp_path / "again.log", port=port, monitor_port=monitor, through=tie()
        )
        try:

            async def is_another() -> bool:
                return bus.connected and bus.server != first

            await eventually(is_another)
        finally:
            await bus.close()
            await again.stop()
