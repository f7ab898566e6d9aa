"""The gateway holds little of what a client sends ahead, or does not read. Services run on uvloop."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop
from tests.gateway.test_service import HEAD, SHORT, served

from writ_gateway.http.asgi import Receive, Scope, Send
from writ_gateway.http.time_limits import TimedProtocol
from writ_installation.server_access.certificates import issue, make_authority
from writ_testing.eventually import eventually

REQUESTS, FILLER = 400, b"X-Filler: " + b"x" * 8000 + b"\r\n\r\n"
CHUNK, LONG = 256 * 1024, 16 * 1024 * 1024
BOTH_LOOPS = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
TLS_OR_NOT = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
NewLoop = Callable[[], asyncio.AbstractEventLoop]


class Observed(TimedProtocol):
    """Notes the bytes ahead of their turn, the last connection, and each end of one."""

    ahead = 0
    last: "Observed"
    ended: asyncio.Queue[str]

    def data_received(self, data: bytes) -> None:
        Observed.last = self
        super().data_received(data)
        Observed.ahead = max(Observed.ahead, len(self.conn.trailing_data[0]))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        Observed.ended.put_nowait(self.scope["path"])


def run(new_loop: NewLoop, test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        Observed.ahead, Observed.ended = 0, asyncio.Queue()
        await test()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def observed(base: type["Observed"] = Observed, **limits: Any) -> Callable[[Any], uvicorn.Config]:
    protocol = type("Limited", (base,), limits)
    return lambda application: uvicorn.Config(
        application, http=protocol, log_config=None, lifespan="off", host="127.0.0.1", port=0
    )


def over_tls(
    folder: Path, tls: bool = True, **limits: Any
) -> tuple[Callable[[Any], uvicorn.Config], ssl.SSLContext | None]:
    """Return the server's configuration, and what its client trusts."""
    if not tls:
        return observed(**limits), None
    now = datetime.now(UTC)
    authority = make_authority("a-b-c-d", now)
    issued = issue(authority, ["127.0.0.1"], now)
    (folder / "certificate").write_bytes(issued.public)
    (folder / "key").write_bytes(issued.private)

    def made(application: Any) -> uvicorn.Config:
        config = observed(**limits)(application)
        config.ssl_certfile, config.ssl_keyfile = str(folder / "certificate"), str(folder / "key")
        return config

    return made, ssl.create_default_context(cadata=authority.public.decode())


async def until_disconnect(scope: Scope, receive: Receive, send: Send) -> None:
    """Reply while a task waits for the client's disconnect, as streams of the SDK do."""
    await receive()
    waiting = asyncio.ensure_future(receive())
    for _ in range(3):  # turns of the loop, in which more could be read
        await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
    await waiting


async def long_reply(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(int(scope["path"][1:]) * LONG)})


@BOTH_LOOPS
def test_requests_sent_ahead_wait_in_the_clients_socket(new_loop: NewLoop) -> None:
    async def test() -> None:
        async with served(until_disconnect, observed()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write((HEAD % 0).removesuffix(b"\r\n") + FILLER)
            writer.write(((HEAD % 0).removesuffix(b"\r\n") + FILLER) * (REQUESTS - 1))
            for _ in range(REQUESTS):
                assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200")
            writer.close()
        assert 0 < Observed.ahead <= 2 * CHUNK

    run(new_loop, test)


@BOTH_LOOPS
@TLS_OR_NOT
def test_a_last_reply_that_nobody_reads_ends_the_connection(new_loop: NewLoop, tmp_path: Path, *, tls: bool) -> None:
    """A close would wait until the client has read it."""
    made, trusted = over_tls(tmp_path, tls, reply_seconds=SHORT)

    async def test() -> None:
        async with served(long_reply, made) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024, ssl=trusted)
            writer.write((HEAD % 0).replace(b"/ ", b"/1 ", 1))
            await asyncio.wait_for(reader.readexactly(2 * CHUNK), 10)
            assert await asyncio.wait_for(Observed.ended.get(), 10) == "/1"
            writer.close()

    run(new_loop, test)


class Checked(Observed):
    """Notes each look at the progress of a reader."""

    looks: asyncio.Queue[int]

    def _check_reader(self) -> None:
        super()._check_reader()
        Checked.looks.put_nowait(self._untaken())


@BOTH_LOOPS
@TLS_OR_NOT
def test_slow_reader_keeps_its_connection_while_it_makes_progress(
    new_loop: NewLoop, tmp_path: Path, *, tls: bool
) -> None:
    """It reads a part of the reply between two looks. When it stops, the connection ends at the next but one."""
    made, trusted = over_tls(tmp_path, tls, base=Checked, reply_seconds=SHORT)

    async def test() -> None:
        Checked.looks = asyncio.Queue()
        async with served(long_reply, made) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024, ssl=trusted)
            writer.write((HEAD % 0).replace(b"/ ", b"/2 ", 1))
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            for _ in range(6):
                await asyncio.wait_for(reader.readexactly(LONG // 8), 10)
                await asyncio.wait_for(Checked.looks.get(), 10)
                assert Observed.ended.empty()
            assert await asyncio.wait_for(Observed.ended.get(), 10) == "/2"
            writer.transport.abort()

    run(new_loop, test)


@BOTH_LOOPS
def test_over_tls_a_reply_that_was_read_leaves_the_connection_open(new_loop: NewLoop, tmp_path: Path) -> None:
    """The layer of TLS tells of its buffer in another way than a socket does."""
    made, trusted = over_tls(tmp_path, reply_seconds=SHORT)

    async def test() -> None:
        async with served(until_disconnect, made) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted)
            for _ in range(2):
                writer.write(HEAD % 0)
                await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(Observed.ended.get(), 2 * SHORT)
            writer.close()

    run(new_loop, test)


@BOTH_LOOPS
@TLS_OR_NOT
def test_of_too_many_unread_bytes_the_longest_reply_ends(new_loop: NewLoop, tmp_path: Path, *, tls: bool) -> None:
    made, trusted = over_tls(tmp_path, tls, most_unread=5 * LONG // 2)

    async def test() -> None:
        async with served(long_reply, made) as port:
            writers = list[asyncio.StreamWriter]()
            for size in (b"/2 ", b"/1 ", b"/1 "):
                _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024, ssl=trusted)
                writer.write((HEAD % 0).replace(b"/ ", size, 1))
                writers.append(writer)
            assert await asyncio.wait_for(Observed.ended.get(), 10) == "/2"
            assert Observed.ended.empty()
            for writer in writers:
                writer.transport.abort()  # a close over TLS waits for the server, which waits for a reader

    run(new_loop, test)


@BOTH_LOOPS
def test_over_tls_no_request_runs_whose_head_ends_after_its_time(new_loop: NewLoop, tmp_path: Path) -> None:
    """The connection closes once a former reply is read; its own reply would not be sent."""
    made, trusted = over_tls(tmp_path, head_seconds=SHORT)
    paths = list[str]()

    async def noted(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await long_reply(scope, receive, send)

    async def is_closing() -> bool | None:
        return Observed.last.transport.is_closing() or None

    async def test() -> None:
        async with served(noted, made) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024, ssl=trusted)
            writer.write((HEAD % 0).replace(b"/ ", b"/1 ", 1))
            await asyncio.wait_for(reader.readexactly(CHUNK), 10)
            late = (HEAD % 0).replace(b"/ ", b"/0 ", 1)
            writer.write(late[:20])
            await eventually(is_closing, within=10)
            writer.write(late[20:])
            async with asyncio.timeout(20):
                while await reader.read(CHUNK):
                    pass
            writer.transport.abort()
        assert paths == ["/1"]

    run(new_loop, test)
