"""No client of the gateway takes all of its connections: neither one with a token nor one without."""

import asyncio
import hashlib
import socket
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from tests.gateway.test_service import HEAD, echo, served

from writ_contracts.installation.gateway_tokens import GatewayToken, GatewayTokens
from writ_gateway.http import bearer
from writ_gateway.http.asgi import Message, Receive, Scope, Send
from writ_gateway.http.bearer import BearerAuthentication
from writ_gateway.http.time_limits import TimedProtocol
from writ_gateway.http.tokens import Tokens
from writ_gateway.refusals import Refusals
from writ_gateway.server import LONGEST_MESSAGE

MOST = 8


class Crowded(TimedProtocol):
    most_connections = MOST


def crowded(application: Any) -> uvicorn.Config:
    return uvicorn.Config(
        application, http=Crowded, limit_concurrency=MOST, log_config=None, lifespan="off", host="127.0.0.1", port=0
    )


@pytest.mark.parametrize("start", [b"", b"POST / HTTP/1.1\r\nHost:", HEAD % 0], ids=["silent", "slow", "kept"])
async def test_connections_without_a_request_make_way(start: bytes) -> None:
    async with served(echo, crowded) as port:
        opened = list[asyncio.StreamWriter]()
        for _ in range(2 * MOST):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            opened.append(writer)
            writer.write(start)
            if start == HEAD % 0:
                assert await is_served(reader)
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            opened.append(writer)
            writer.write(HEAD % 0)
            assert await is_served(reader)
        for writer in opened:
            writer.close()


async def test_connections_opened_at_once_make_way() -> None:
    async with served(echo, crowded) as port:
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(4 * MOST)]  # accepted in one turn
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD % 0)
            assert await is_served(reader)
            writer.close()
        for one in crowd:
            one.close()


async def is_served(reader: asyncio.StreamReader) -> bool:
    return (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("limit", "body"),
    [
        ({"MOST_OPEN": 2}, []),
        ({"MOST_OPEN_BYTES": 2_000_000}, [(b"content-length", b"1000000")]),
        ({"MOST_OPEN_BYTES": 2 * LONGEST_MESSAGE}, [(b"transfer-encoding", b"chunked")]),
    ],
    ids=["requests", "bytes", "chunks"],
)
async def test_requests_of_one_principal_leave_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: dict[str, int], body: list[tuple[bytes, bytes]]
) -> None:
    for name, value in limit.items():
        monkeypatch.setattr(bearer, name, value)
    over, statuses = asyncio.Event(), list[int]()

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await over.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> Message:
        return {"type": "http.request"}

    refused = list[tuple[str, str]]()
    refusals = Refusals(lambda principal, kind: refused.append((principal, kind)))
    application = BearerAuthentication(inner, Tokens(tokens_of(tmp_path, "bot", "other")), refusals=refusals)

    def request(principal: str) -> "asyncio.Task[None]":
        headers = [(b"authorization", f"Bearer {principal}".encode()), *body]
        scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": headers}
        return asyncio.ensure_future(application(scope, receive, send))

    open_now = [request("bot"), request("bot")]
    await asyncio.sleep(0)
    await request("bot")
    assert statuses == [429]
    open_now.append(request("other"))
    over.set()
    await asyncio.gather(*open_now, request("bot"))
    assert sorted(statuses) == [200, 200, 200, 200, 429]
    assert refused == [("bot", "rate_limited")]


def tokens_of(folder: Path, *principals: str) -> Path:
    """Write a file of tokens: that of each principal is its name."""
    tokens = [
        GatewayToken(
            id="a" * 7 + "ab"[at],
            principal=name,
            digest=hashlib.sha256(name.encode()).hexdigest(),
            created=0.0,
            expires=time.time() + 3600,
        )
        for at, name in enumerate(principals)
    ]
    path = folder / "tokens.json"
    path.write_bytes(msgspec.json.encode(GatewayTokens(tokens=tokens)))
    return path
