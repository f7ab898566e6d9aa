"""An API whose owner replies without an end: its thread in the agent is free again, and takes little memory."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import requests
from tests.agent_proxmox.test_tls import TOKEN_OF, made

from writ_agent_proxmox.connection import bounded_socket
from writ_agent_proxmox.connection.api import Api
from writ_agent_proxmox.connection.bounded_socket import UnusableReply
from writ_agent_proxmox.connection.session import _Json
from writ_agent_proxmox.settings import ProxmoxConnection
from writ_contracts.errors import Unreachable
from writ_contracts.json_values import MOST_REPLIED
from writ_testing.peers.proxmox import Proxmox

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
Reply = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def repeated(start: bytes, part: bytes, pause: float) -> Reply:
    """Return a reply that goes on until its client closes the connection."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while not await is_closed(reader, pause):
            writer.write(part)
            await writer.drain()

    return reply


async def is_closed(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Return whether the client closes the connection within this time."""
    try:
        async with asyncio.timeout(seconds):
            return await reader.read(1) == b""
    except TimeoutError:
        return False


async def compressed(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = gzip.compress(b'{"data": "' + b"x" * 1_000_000 + b'"}')
    writer.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@asynccontextmanager
async def serving(pve: Proxmox, reply: Reply) -> AsyncIterator[Api]:
    """Yield the API of a server that gives this reply to each request."""
    ca, certificate, key = made(pve)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reply(reader, writer)
        except (OSError, asyncio.IncompleteReadError):  # the client is gone
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    api = Api(ProxmoxConnection(host="127.0.0.1", port=port, ca=ca), TOKEN_OF)
    try:
        yield api
    finally:
        api.close()
        listener.close()


@pytest.mark.parametrize(
    ("reply", "seconds", "error"),
    [
        (repeated(HEAD + b"Content-Length: 100000\r\n\r\n", b" ", 0.1), 0.4, "too slow"),
        (repeated(HEAD + b"X-Long: ", b"x", 0.1), 0.4, "too slow"),
        (repeated(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.0), 60.0, "too large"),
        (repeated(HEAD + b"Content-Length: 1000000000\r\n\r\n", b" " * 100_000, 0.0), 60.0, "too large"),
        (compressed, 60.0, "compressed"),
    ],
    ids=["slow_body", "slow_head", "interim", "large", "compressed"],
)
async def test_reply_without_an_end_gives_its_thread_back(
    server: Proxmox, reply: Reply, seconds: float, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_socket, "WHOLE_SECONDS", seconds)
    monkeypatch.setattr(bounded_socket, "MOST_BYTES", 1_000_000)
    async with serving(server, reply) as api, asyncio.timeout(60):
        with pytest.raises(Unreachable, match=error):
            await api.get("version")


@pytest.mark.parametrize(
    "body", [b'{"data": [' + b"[]," * MOST_REPLIED + b"[]]}", b"<html>"], ids=["values", "no JSON"]
)
async def test_connection_of_a_refused_reply_is_closed(server: Proxmox, body: bytes) -> None:
    closed = asyncio.Event()

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        if await is_closed(reader, 20):
            closed.set()

    async with serving(server, reply) as api:
        with pytest.raises(Unreachable):
            await api.get("version")
        await asyncio.wait_for(closed.wait(), 20)


async def test_limits_of_a_reply_begin_anew_with_each_request(server: Proxmox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_socket, "MOST_BYTES", 1_000)
    body = b'{"data": "' + b"x" * 600 + b'"}'

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async with serving(server, reply) as api:
        assert [len(await api.get("version")) for _ in range(3)] == [600, 600, 600]


def test_reply_of_too_many_values_is_refused_before_it_is_decoded() -> None:
    response = requests.Response()
    response._content = b'{"data": [' + b"[]," * MOST_REPLIED + b"[]]}"
    with pytest.raises(UnusableReply, match="more than 500,000 values"):
        _Json().loads(response)
