"""No client of the gateway takes all of its connections: neither one with a token nor one without."""

import asyncio
import hashlib
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import uvicorn
import uvloop
from tests.gateway.conftest import everybody
from tests.gateway.test_service import HEAD, echo, served

from writ_contracts.installation.gateway_tokens import GatewayToken, GatewayTokens
from writ_gateway.http import bearer
from writ_gateway.http.asgi import Message, Receive, Scope, Send
from writ_gateway.http.bearer import BearerAuthentication
from writ_gateway.http.time_limits import TimedProtocol
from writ_gateway.http.tokens import Tokens
from writ_gateway.http.value_limit import ValueLimit
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


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_connections_opened_at_once_make_way(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Services run on uvloop, which reports the end of a connection later than asyncio does."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(crowd_makes_way())


async def crowd_makes_way() -> None:
    async with served(echo, crowded) as port:
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(4 * MOST)]  # accepted in one turn
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD % 0)
            assert await is_served(reader)
            writer.close()
            await writer.wait_closed()
        for one in crowd:
            one.close()


@pytest.mark.parametrize(
    ("version", "lengths"),
    [(b"1.1", b"Content-Length: 4\r\nTransfer-Encoding: chunked"), (b"1.0", b"Transfer-Encoding: chunked")],
    ids=["both", "chunks of an old client"],
)
async def test_request_whose_end_a_proxy_may_see_elsewhere_ends_its_connection(
    tmp_path: Path, version: bytes, lengths: bytes
) -> None:
    """Else bytes that one client sends become the request of another, which came over the proxy's connection."""
    application = BearerAuthentication(echo, Tokens(tokens_of(tmp_path, "bot")), everybody(tmp_path))
    head = b"POST /mcp HTTP/" + version + b"\r\nHost: localhost\r\nAuthorization: Bearer bot\r\n" + lengths
    async with served(application) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"\r\n\r\n0\r\n\r\n" + HEAD % 0)
        replies = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert replies.startswith(b"HTTP/1.1 400")
    assert replies.count(b"HTTP/1.1 ") == 1


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
    application = BearerAuthentication(
        inner, Tokens(tokens_of(tmp_path, "bot", "other")), everybody(tmp_path), refusals=refusals
    )

    def request(principal: str) -> "asyncio.Task[None]":
        headers = [(b"authorization", f"Bearer {principal}".encode()), *body]
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/mcp", "headers": headers}
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


async def test_bodies_of_many_principals_leave_memory_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dozen principals had 192 MB of bodies open, for which the gateway needed 1 GB."""
    monkeypatch.setattr(bearer, "MOST_BYTES", 12_000_000)
    over, statuses, taken = asyncio.Event(), list[int](), Counter[str]()

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        taken[scope[bearer.IDENTITY].principal] += 1
        await over.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> Message:
        return {"type": "http.request"}

    names = [f"bot-{at}" for at in range(12)]
    application = BearerAuthentication(inner, Tokens(tokens_of(tmp_path, *names)), everybody(tmp_path))

    def request(principal: str, size: int) -> "asyncio.Task[None]":
        headers = [(b"authorization", f"Bearer {principal}".encode()), (b"content-length", str(size).encode())]
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/mcp", "headers": headers}
        return asyncio.ensure_future(application(scope, receive, send))

    greedy = [request(name, 100_000) for _ in range(100) for name in names[:-1]]
    last = request(names[-1], 900_000)
    await asyncio.sleep(0)
    assert taken[names[-1]] == 1
    assert {taken[name] for name in names[:-1]} <= {9, 10}
    over.set()
    await asyncio.gather(*greedy, last)
    assert Counter(statuses) == {200: taken.total(), 429: len(greedy) + 1 - taken.total()}


async def test_principal_is_not_blamed_for_the_bodies_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bearer, "MOST_BYTES", 3_000_000)
    over, replies, refused = asyncio.Event(), list[Message](), list[tuple[str, str]]()

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await over.wait()

    async def send(message: Message) -> None:
        replies.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    refusals = Refusals(lambda principal, kind: refused.append((principal, kind)))
    application = BearerAuthentication(
        inner, Tokens(tokens_of(tmp_path, "one", "two", "other")), everybody(tmp_path), refusals=refusals
    )

    def request(principal: str, size: int) -> "asyncio.Task[None]":
        headers = [(b"authorization", f"Bearer {principal}".encode()), (b"content-length", str(size).encode())]
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/mcp", "headers": headers}
        return asyncio.ensure_future(application(scope, receive, send))

    held = [request("one", 1_000_000), request("two", 1_000_000)]
    await request("other", 1_500_000)
    over.set()
    await asyncio.gather(*held)
    assert [replies[0]["status"], b"of all principals" in replies[1]["body"]] == [429, True]
    assert refused == []


def tokens_of(folder: Path, *principals: str, rate: int | None = None) -> Path:
    """Write a file of tokens: that of each principal is its name."""
    tokens = [
        GatewayToken(
            id="a" * 7 + "abcdefghijkl"[at],
            principal=name,
            digest=hashlib.sha256(name.encode()).hexdigest(),
            created=0.0,
            expires=time.time() + 3600,
            rate=rate,
        )
        for at, name in enumerate(principals)
    ]
    path = folder / "tokens.json"
    path.write_bytes(msgspec.json.encode(GatewayTokens(tokens=tokens)))
    return path


async def limited(*messages: Message, length: bytes = b"0") -> tuple[list[Message], list[int]]:
    """Return what the application behind the limit receives of these messages, and the statuses of the limit itself."""
    waiting, received, statuses = list(messages), list[Message](), list[int]()

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        received.append(await receive())
        while received[-1].get("more_body"):
            received.append(await receive())

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await ValueLimit(inner)({"type": "http", "method": "POST", "headers": [(b"content-length", length)]}, receive, send)
    return received, statuses


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


@pytest.mark.parametrize("part", [b"[],", b"{},", b'{"":0},', b'"a",', b"0,"])
async def test_body_of_many_small_values_is_refused_before_it_is_decoded(part: bytes) -> None:
    """Bodies of 16 MB of empty lists took 400 MB, and other requests waited for 5 s."""
    data = part * ((1 << 20) // len(part))
    assert await limited(body(b"[", more=True), body(data, more=True), body(b"0]")) == ([], [413])


@pytest.mark.parametrize("text", ["1,[{" * 300_000, '\\",[' * 200_000, "\\" * 600_000])
async def test_text_of_any_length_passes_whatever_is_in_it(text: str) -> None:
    whole = body(msgspec.json.encode({"content": text}))
    assert await limited(whole) == ([whole], [])


@pytest.mark.parametrize(
    "data", [b'"' + b'\\"' * 700_000, b'"' * 1_400_001, b'"' + b"\\" * 1_400_000, b'["a",' * 300_000]
)
async def test_strings_without_an_end_take_time_in_proportion_to_their_bytes(data: bytes) -> None:
    began = time.process_time()
    await limited(body(data))
    assert time.process_time() - began < 5


async def test_body_that_breaks_off_is_left_to_the_application() -> None:
    gone: Message = {"type": "http.disconnect"}
    assert await limited(body(b"[", more=True), gone) == ([gone], [])


async def test_body_that_is_too_long_is_refused_before_it_is_read_whole() -> None:
    """The application's own refusal is plain text, which a client does not show."""
    assert await limited(length=b"%d" % (LONGEST_MESSAGE + 1)) == ([], [413])
    part = body(b" " * (LONGEST_MESSAGE // 2), more=True)
    assert await limited(part, part, body(b"  ")) == ([], [413])
    assert await limited(part, part, part) == ([], [413])
    longest = body(b" " * LONGEST_MESSAGE)
    assert await limited(longest, length=b"%d" % LONGEST_MESSAGE) == ([longest], [])


@pytest.mark.parametrize("rate", range(1, 61))
async def test_request_after_the_wait_of_a_refused_one_is_within_the_rate_of_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    """The wait was rounded down, so that one request in two was refused again."""
    now, statuses, waits = [1000.0], list[int](), list[int]()
    monkeypatch.setattr(bearer, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            waits.append(int(dict(message["headers"]).get(b"retry-after", b"0")))

    async def receive() -> Message:
        return {"type": "http.request"}

    application = BearerAuthentication(echo, Tokens(tokens_of(tmp_path, "bot", rate=rate)), everybody(tmp_path))
    headers = [(b"authorization", b"Bearer bot")]
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/mcp", "headers": headers}
    while 429 not in statuses:
        await application(scope, receive, send)
    now[0] += waits[-1]
    await application(scope, receive, send)
    assert (statuses[-1], len(statuses)) == (200, rate + 2)
