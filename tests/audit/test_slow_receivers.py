"""Receivers of notifications that reply slowly, or without an end: they delay only themselves."""

import asyncio
import datetime as dt
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.audit.history import History
from tests.audit.replica import replica, search
from tests.audit.test_notifications import control, exists

from writ_audit.notifications import delivery
from writ_audit.notifications.settings import MOST_DESTINATIONS
from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.notifications import HttpRequest
from writ_contracts.wire import encode
from writ_installation.server_access.certificates import issue, make_authority
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus

HEAD = b"HTTP/1.1 200 OK\r\nX-Long: "
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" * 100
PAUSE = 0.05


async def is_closed(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Return whether the client closes the connection within this time."""
    try:
        async with asyncio.timeout(seconds):
            return await reader.read(1000) == b""
    except TimeoutError:
        return False


class SlowReceiver:
    """A receiver that repeats a part of its reply until its client closes the connection."""

    def __init__(self, start: bytes, part: bytes) -> None:
        self.start, self.part = start, part
        self.writers = list[asyncio.StreamWriter]()
        self.open = 0
        self.pause = PAUSE
        self.url = ""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.writers.append(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.start)
            while not await is_closed(reader, self.pause):
                writer.write(self.part)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def is_free(self) -> bool:
        return self.open == 0


@asynccontextmanager
async def slow(start: bytes, part: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[SlowReceiver]:
    receiver = SlowReceiver(start, part)
    listener = await asyncio.start_server(receiver.connected, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    receiver.url = f"{scheme}://127.0.0.1:{listener.sockets[0].getsockname()[1]}/hook?a=b"
    try:
        yield receiver
    finally:
        listener.close()
        for writer in receiver.writers:
            writer.transport.abort()
        await eventually(receiver.is_free)


@pytest.mark.parametrize(("start", "part"), [(HEAD, b"x"), (b"", INTERIM)], ids=["slow_head", "interim"])
async def test_receiver_whose_reply_does_not_end_is_cut_off(
    start: bytes, part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SEND_SECONDS", 0.5)
    async with slow(start, part) as receiver, asyncio.timeout(60):
        problem = await asyncio.to_thread(delivery.post, HttpRequest(url=receiver.url, headers={}, body=b"{}"))
    assert problem.startswith("not reached")


async def test_receiver_with_tls_is_cut_off_without_reading_what_it_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SEND_SECONDS", 0.5)
    tls = trusted(tmp_path, monkeypatch)
    async with slow(b"", INTERIM * 10, tls) as receiver, asyncio.timeout(60):
        receiver.pause = 0.0
        problem = await asyncio.to_thread(delivery.post, HttpRequest(url=receiver.url, headers={}, body=b"{}"))
    assert problem.endswith(("no whole reply within 0.5 s", "timed out"))


def trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return the context of a server whose certificate this process trusts."""
    now = dt.datetime.now(dt.UTC)
    authority = make_authority("receivers", now)
    own = issue(authority, ["127.0.0.1"], now)
    files = {"ca.pem": authority.public, "own.pem": own.public, "own.key": own.private}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem", folder / "own.key")
    return context


async def test_search_replies_while_no_receiver_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SEND_SECONDS", 60.0)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(MOST_DESTINATIONS))
    bus, file = MemoryBus(Broker()), tmp_path / "notifications.yaml"
    await History(bus).requested("alice", "before")
    async with slow(HEAD, b"x") as receiver:
        names = [f"slow-{number}" for number in range(MOST_DESTINATIONS)]
        destinations = [{"name": name, "kind": "ntfy", "url": receiver.url, "with": {"topic": "a"}} for name in names]
        file.write_text(json.dumps({"destinations": destinations}))
        async with replica(bus, tmp_path / "state", notifications=file):
            for name in names:
                await eventually(existing(tmp_path / "state" / f"notifications-{name}.json"))
            where = subjects.control_event("stop_set")
            await bus.journal.append(
                Entry(subject=where, data=encode(control("stop_set")), event_id="1", filter=where, expected=0)
            )

            async def all_are_open() -> bool:
                return receiver.open == MOST_DESTINATIONS

            await eventually(all_are_open, within=20)
            found = await search(bus, "alice", principal="alice")
            assert receiver.open == MOST_DESTINATIONS
    assert [row.operation_id for row in found.rows]


def existing(path: Path) -> Callable[[], Awaitable[bool]]:
    return lambda: exists(path)
