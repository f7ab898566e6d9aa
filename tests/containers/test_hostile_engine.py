"""An engine that its owner replaced reaches no other server through the agent, and takes no memory of it.

The agent of one engine serves others too, and its certificate may be accepted by all of them.
"""

import asyncio
import json
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path

import pytest
from tests.lab.engine_certificates import Authority

from writ_containers.containers.container_recreate import recreated
from writ_containers.engine.api import Engine
from writ_containers.engine.connection import EngineAddress
from writ_containers.engine.endpoint import SocketEndpoint, TlsEndpoint
from writ_containers.stacks import swarm_api
from writ_contracts.errors import TimedOut, WritError

ID = "a" * 64
MB = 1 << 20
Serve = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
"""Writes the reply to a request, which is given by its first line."""


class Peer:
    """A server at a Unix socket, or over TLS, which remembers the first line of each request."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.requests: list[str] = []
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head.splitlines()[0])
            await self.serve(self.requests[-1], writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):  # the agent ends a connection that it cannot use
            return
        finally:
            writer.close()


@asynccontextmanager
async def engine_at(path: Path, serve: Serve) -> AsyncIterator[Engine]:
    """Yield an engine whose replies `serve` writes."""
    peer = Peer(serve)
    server = await asyncio.start_unix_server(peer.handle, path)
    engine = Engine(SocketEndpoint(str(path)), EngineAddress(socket=str(path), reply_timeout=10))
    try:
        yield engine
    finally:
        await engine.close()
        server.close()


@asynccontextmanager
async def over_tls(authority: Authority, name: str, serve: Serve) -> AsyncIterator[Peer]:
    peer = Peer(serve)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(name))
    server = await asyncio.start_server(peer.handle, "127.0.0.1", 0, ssl=context)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()


def reply(body: bytes, status: int = 200, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def no_content(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(reply(b"", 204))


CALLS: dict[str, Callable[[Engine], Awaitable[object]]] = {
    "stop": lambda engine: engine.stop(ID, 1),
    "remove": lambda engine: engine.remove(ID, force=True),
    "inspect": lambda engine: engine.inspect(ID),
    "get": lambda engine: engine.get_json("/services", {}),
    "delete": lambda engine: engine.delete("/networks/x"),
    "logs": lambda engine: engine.logs(ID, 5),
    "is_folder": lambda engine: engine.is_folder(ID, "/x"),
    "pull": lambda engine: engine.pull("box:1", lambda _: None),
}


@pytest.mark.parametrize("status", [301, 303, 307, 308])
@pytest.mark.parametrize("call", CALLS)
async def test_engine_cannot_redirect_a_request_to_another_server(tmp_path: Path, call: str, status: int) -> None:
    authority = Authority(tmp_path)
    async with over_tls(authority, "victim", no_content) as victim:

        async def redirect(line: str, writer: asyncio.StreamWriter) -> None:
            path = line.split()[1]
            writer.write(reply(b"", status, f"Location: https://127.0.0.1:{victim.port}{path}"))

        async with over_tls(authority, "hostile", redirect) as hostile:
            endpoint = TlsEndpoint("127.0.0.1", hostile.port, authority.pem, authority.identity("agent"))
            engine = Engine(endpoint, EngineAddress(reply_timeout=5))
            try:
                with pytest.raises(TimedOut, match="redirect") as refused:
                    await CALLS[call](engine)
            finally:
                await engine.close()
        assert hostile.requests
        assert victim.requests == []
        assert refused.value.code in ("garbled", "connection_lost")


async def endless(line: str, writer: asyncio.StreamWriter, status: int = 200) -> None:
    """Write 128 MB of JSON without an end."""
    head = f"HTTP/1.1 {status} x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
    writer.write(head.encode() + b'1\r\n"\r\n')
    for _ in range(128):
        writer.write(b"100000\r\n" + b"x" * MB + b"\r\n")
        await writer.drain()


async def endless_error(line: str, writer: asyncio.StreamWriter) -> None:
    await endless(line, writer, 500)


@cache
def compressed() -> bytes:
    """Return the reply of 128 MB of JSON in half a megabyte."""
    packer = zlib.compressobj(wbits=31)
    parts = [packer.compress(part) for part in (b'"', *[b"x" * MB] * 128, b'"')]
    return reply(b"".join([*parts, packer.flush()]), 200, "Content-Encoding: gzip")


async def bomb(line: str, writer: asyncio.StreamWriter) -> None:
    writer.write(compressed())


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail if Python's memory grows by more than 32 MB meanwhile."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 32 * MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("call", "serve"),
    [
        *((call, serve) for call in ("inspect", "get") for serve in (endless, bomb)),
        *((call, endless_error) for call in CALLS),
    ],
)
async def test_reply_without_an_end_takes_little_memory(tmp_path: Path, call: str, serve: Serve) -> None:
    compressed()  # not while the engine has to reply
    async with engine_at(tmp_path / "e.sock", serve) as engine:
        with little_memory(), pytest.raises(WritError) as refused:
            await CALLS[call](engine)
    assert refused.value.code in ("garbled", "connection_lost")


@pytest.mark.parametrize("part", [b"[],", b"{},", b'{"":0},', b"0,"])
@pytest.mark.parametrize(("call", "status"), [("inspect", 200), ("get", 200), ("stop", 500)])
async def test_reply_of_many_small_values_takes_little_memory_and_time(
    tmp_path: Path, call: str, status: int, part: bytes
) -> None:
    """8 MB of empty lists took 180 MB, and no other target of the agent had a turn for seconds."""
    body = b"[" + part * ((7 << 20) // len(part)) + b"0]"

    async def serve(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(body, status))

    async with engine_at(tmp_path / "e.sock", serve) as engine:
        with little_memory(), pytest.raises(WritError, match="values") as refused:
            await CALLS[call](engine)
    assert refused.value.code == "garbled"


async def test_list_of_thousands_of_containers_is_read(tmp_path: Path) -> None:
    one = {"Id": ID, "Names": ["/a"], **{f"field{number}": "a text" for number in range(100)}}
    body = json.dumps([one] * 3_000).encode()

    async def serve(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(body))

    async with engine_at(tmp_path / "e.sock", serve) as engine:
        assert len(await engine.containers()) == 3_000


@pytest.mark.parametrize("terminal", [False, True])
async def test_log_without_an_end_takes_little_memory_and_its_last_lines_are_returned(
    tmp_path: Path, terminal: bool
) -> None:
    """The engine states the length of a frame; that of this one is 3 GB."""

    async def serve(line: str, writer: asyncio.StreamWriter) -> None:
        if "/logs" not in line:
            writer.write(reply(json.dumps({"Config": {"Tty": terminal}}).encode()))
            return
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        writer.write(b"" if terminal else b"\1\0\0\0" + (3 << 30).to_bytes(4, "big"))
        for _ in range(128):
            writer.write(b"x" * MB)
            await writer.drain()
        writer.write(b"the end\n")

    async with engine_at(tmp_path / "e.sock", serve) as engine:
        with little_memory():
            assert (await engine.logs(ID, 5)).endswith("xthe end\n")


DEEP = [b"[" * 100_000, b'{"a":' * 100_000]


@pytest.mark.parametrize(
    ("call", "status", "body"),
    [
        *((call, 200, body) for call in ("inspect", "get") for body in DEEP),
        *(("pull", 200, body) for body in (*DEEP, b"[]", b"3", b"\xff")),
        *((call, 500, body) for call in CALLS for body in (*DEEP, b"[]", b"3", b"\xff")),
    ],
)
async def test_reply_of_another_shape_is_an_error_and_no_defect(
    tmp_path: Path, call: str, status: int, body: bytes
) -> None:
    async def serve(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(body, status))

    async with engine_at(tmp_path / "e.sock", serve) as engine:
        with pytest.raises(WritError):
            await CALLS[call](engine)


WRONG: dict[str, tuple[Callable[[Engine], Awaitable[object]], object]] = {
    "state": (lambda engine: engine.inspect(ID), {"Id": ID, "State": "running"}),
    "labels": (lambda engine: engine.inspect(ID), {"Id": ID, "Config": {"Labels": ["a"]}}),
    "mounts": (lambda engine: engine.inspect(ID), {"Id": ID, "Mounts": {"a": 1}}),
    "containers": (lambda engine: engine.containers(), [{"Id": ID, "Names": "web"}]),
    "image": (lambda engine: engine.image("box:1"), {"RepoDigests": "one"}),
    "images": (lambda engine: engine.images({}), [{"Labels": "one"}]),
    "networks": (lambda engine: engine.networks({}), [{"Name": "one"}]),
    "volumes": (lambda engine: engine.volumes({}), {"Volumes": ["one"]}),
    "info": (lambda engine: engine.info(), {"Swarm": "inactive"}),
    "version": (lambda engine: engine.version(), {"Components": "one"}),
    "services": (swarm_api.services, [{"ID": "one", "Spec": {"Name": "one"}}]),
    "tasks": (lambda engine: swarm_api.tasks(engine, "one"), [{"Status": "running"}]),
}


@pytest.mark.parametrize("name", WRONG)
async def test_reply_whose_values_have_other_types_is_garbled(tmp_path: Path, name: str) -> None:
    call, body = WRONG[name]

    async def serve(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(json.dumps(body).encode()))

    async with engine_at(tmp_path / "e.sock", serve) as engine:
        with pytest.raises(TimedOut, match="is not usable: ") as refused:
            await call(engine)
    assert refused.value.code == "garbled"


async def test_empty_values_of_a_container_may_be_null(tmp_path: Path) -> None:
    """Go writes nil maps, lists and pointers in this way."""
    body = {
        "Id": ID,
        "State": {"Health": None},
        "Config": {"Labels": None, "Env": None, "Cmd": None, "StopTimeout": None},
        "HostConfig": {"Binds": None, "PortBindings": {"80/tcp": None}, "Sysctls": None, "Devices": None},
        "Mounts": None,
        "NetworkSettings": {"Networks": {"front": None}},
    }

    async def serve(line: str, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(json.dumps(body).encode()))

    async with engine_at(tmp_path / "e.sock", serve) as engine:
        raw = await engine.inspect(ID)
    assert recreated(raw, None, "box:2", "op")["NetworkingConfig"] == {"EndpointsConfig": {"front": {}}}
