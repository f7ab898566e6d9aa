"""The direct client passes messages between socket and parser completely, in order and within bounds."""

import asyncio
import gc
import warnings
import weakref
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from nats.protocol.command import hpub_cmd, pub_cmd

from writ_bus.errors import TimedOut, Unreachable
from writ_bus.nats import connection as connections
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.nats.client.direct import DirectClient
from writ_bus.nats.client.outgoing import LONG, message_parts
from writ_bus.nats.client.watchdog import Watchdog
from writ_bus.port import Message
from writ_nats_server.config import render
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import anybody, open_server, writ_server
from writ_testing.peers.tcp_proxy import tcp_proxy

BURST = 2_000


def direct(bus: NatsBus) -> DirectClient:
    client: object = bus.connection.client
    assert isinstance(client, DirectClient)
    return client


@pytest.fixture
async def bus(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[NatsBus]:
    """Yield a bus over the direct client, or over the one that a test names."""
    async with open_server(tmp_path) as (_, url):
        bus = await connect(anybody(url, client=getattr(request, "param", "direct")))
        yield bus
        await bus.close()


async def heard(bus: NatsBus, subject: str) -> list[bytes]:
    """Return a list that collects messages on the subject as they arrive."""
    arrived: list[bytes] = []
    await bus.connection.listen(subject, lambda message: arrived.append(message.data))
    return arrived


async def all_of(arrived: list[bytes], count: int) -> list[int]:
    async def there() -> bool:
        return len(arrived) >= count

    await eventually(there, what=f"{count} messages")
    return [int(data[:8]) for data in arrived]


async def test_burst_within_one_turn_arrives_whole_and_in_order(bus: NatsBus) -> None:
    arrived = await heard(bus, "burst")
    await asyncio.gather(*(bus.publish("burst", b"%08d" % number) for number in range(BURST)))
    assert await all_of(arrived, BURST) == list(range(BURST))


async def test_messages_larger_than_the_socket_buffer_arrive_in_order(bus: NatsBus) -> None:
    arrived = await heard(bus, "large")
    for number in range(100):
        await bus.publish("large", b"%08d" % number + bytes(500_000))
    assert await all_of(arrived, 100) == list(range(100))


@pytest.mark.parametrize("reply", ["", "_INBOX.a"])
@pytest.mark.parametrize("block", [b"", b"NATS/1.0\r\nA: b\r\n\r\n"], ids=["no headers", "headers"])
def test_long_payload_is_written_as_by_nats_py_and_not_copied(reply: str, block: bytes) -> None:
    payload = bytes(LONG)
    parts = message_parts("a.b", reply, block, payload)
    assert any(part is payload for part in parts)
    expected = hpub_cmd("a.b", reply, block, payload) if block else pub_cmd("a.b", reply, payload)
    assert b"".join(parts) == expected


async def test_long_payload_goes_to_the_transport_of_asyncio_unjoined(
    bus: NatsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to Python 3.11 `writelines` of that transport joins all parts."""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def arrive(message: Message) -> None:
        arrived.put_nowait(message.data)

    await bus.subscribe("long", arrive)
    await bus.connection.round_trip(5.0)
    transport = direct(bus)._transport._io_writer.transport  # type: ignore[union-attr]
    write, written = transport.write, list[bytes]()

    def note(data: bytes) -> None:
        written.append(data)
        write(data)

    monkeypatch.setattr(transport, "write", note)
    monkeypatch.setattr(asyncio.WriteTransport, "writelines", type(transport).writelines)  # also where it does not join
    payload = b"0123456789abcdef" * (LONG // 8)
    await bus.publish("long", payload)
    assert any(part is payload for part in written)
    assert await asyncio.wait_for(arrived.get(), 5) == payload


async def test_first_message_of_a_turn_is_written_before_the_turn_ends(bus: NatsBus) -> None:
    await bus.publish("first", b"1")
    assert not direct(bus)._pending
    await bus.publish("second", b"2")
    assert len(direct(bus)._pending) == 1
    await bus.connection.round_trip(5.0)
    assert not direct(bus)._pending


async def test_waiting_requests_have_timeouts_of_their_own(bus: NatsBus) -> None:
    await heard(bus, "mute")
    longer = asyncio.create_task(bus.replies.one("mute", b"", timeout=1.0))

    async def waits() -> bool:
        return bool(bus.replies._waiting)

    await eventually(waits, what="that it waits")
    with pytest.raises(TimedOut, match=r"in 0\.05 s"):
        await bus.replies.one("mute", b"", timeout=0.05)
    with pytest.raises(TimedOut, match="in 1 s"):
        await longer
    assert not bus.replies._waiting


async def test_replies_are_freed_without_the_garbage_collector(bus: NatsBus) -> None:
    async def handle(message: Message) -> None:
        await bus.publish(message.reply, b"1")

    async def gone() -> bool:
        return kept() is None

    await bus.subscribe("asked", handle)
    gc.disable()
    try:
        answers = await bus.replies.until("asked", b"", lambda _: True, timeout=20.0)
        kept = weakref.ref(answers.pop())
        await eventually(gone, what="that it is gone")
    finally:
        gc.enable()


async def test_messages_wait_in_order_behind_a_parser_that_waits(bus: NatsBus, monkeypatch: pytest.MonkeyPatch) -> None:
    client, go_on = direct(bus), asyncio.Event()
    pong = client._process_pong

    async def slowly() -> None:
        await go_on.wait()
        await pong()

    async def waits() -> bool:
        return client._parsing is not None

    arrived = await heard(bus, "behind")
    monkeypatch.setattr(client, "_process_pong", slowly)
    answered = asyncio.create_task(bus.connection.round_trip(20.0))
    await eventually(waits, what="a parser that waits")
    for number in range(BURST):
        await bus.publish("behind", b"%08d" % number)
    assert arrived == []
    go_on.set()
    assert await all_of(arrived, BURST) == list(range(BURST))
    await answered


async def test_full_socket_refuses_messages_before_memory_is_full(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (_, url), tcp_proxy(int(url.rpartition(":")[2])) as proxy:
        bus = await connect(anybody(f"nats://127.0.0.1:{proxy.port}"))
        proxy.stall()
        with pytest.raises(Unreachable, match="takes no more data"):
            await _fill(bus)
        assert direct(bus)._pending_data_size <= connections.HIGH_WATER + 1_000_000
        async with asyncio.timeout(20.0):
            await bus.close()  # which waits for nothing that will never be taken


async def _fill(bus: NatsBus) -> None:
    for _ in range(1_000):
        await bus.publish("somewhere", bytes(500_000))


async def test_lost_connection_is_replaced_and_its_subscription_goes_on(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (_, url), tcp_proxy(int(url.rpartition(":")[2])) as proxy:
        bus = await connect(anybody(f"nats://127.0.0.1:{proxy.port}"))
        arrived = await heard(bus, "again")
        proxy.cut()
        proxy.flow()

        async def through() -> bool:
            try:
                await bus.publish("again", b"%08d" % 1)
            except Unreachable:
                return False
            return bool(arrived)

        assert await eventually(through)
        await bus.close()


async def test_refused_attempt_closes_its_socket(tmp_path: Path) -> None:
    async with writ_server(tmp_path, pools=()) as server:
        bus = await server.bus("alice")
        left = replace(server.plan, principals={"bob": server.plan.principals["bob"]})
        server.config.write_text(render(left))
        gc.collect()  # what others left open is no matter of this connection
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            await server.process.reload()
            await eventually(lambda: _tried(bus, 3), what="three attempts")
            await bus.close()
            gc.collect()
        assert [str(one.message) for one in caught] == []


async def _tried(bus: NatsBus, times: int) -> bool:
    return sum(one.reconnects for one in direct(bus)._server_pool) >= times


class Closed:
    """A transport whose socket uvloop has just closed, before nats-py notices it."""

    _io_writer = None

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def writelines(self, _: object) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def test_sender_on_a_socket_that_has_just_closed_gets_an_error(
    bus: NatsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = direct(bus)
    flusher, transport = client._flusher_task, client._transport
    assert flusher is not None
    assert transport is not None
    flusher.cancel()
    await asyncio.gather(flusher, return_exceptions=True)
    with monkeypatch.context() as closed:
        closed.setattr(client, "_transport", Closed(transport))
        for sent in (
            bus.publish("somewhere", b""),
            bus.request("somewhere", b"", timeout=0.5),
            bus.connection.round_trip(1.0),
            bus.connection.listen("elsewhere", print),
        ):
            with pytest.raises(Unreachable):
                await sent
        await Watchdog(client, 1.0, 1.0)._probe()
    transport.close()  # type: ignore[no-untyped-call]


MALFORMED = (b"\r\n", b"X", b"NATS/1.0", b"NATS/1.0 ", b"NATS/1.0\r", b"NATS/1.0\r\n", b"XXXX\r\n\r\n", b"        \r\n")
"""Headers that nats-server passes on as they are; some of them made nats-py raise an IndexError."""


@pytest.mark.parametrize("times", [1, 40])
@pytest.mark.parametrize("bus", ["direct", "plain"], indirect=True)
async def test_subject_that_is_not_utf_8_does_not_end_the_connection(bus: NatsBus, times: int) -> None:
    """A principal chooses tokens of subjects on which a service listens, and nats-server takes any bytes."""
    arrived = await heard(bus, "request.*")
    await heard(bus, "other.*")
    host, port = bus.connection.options.servers[0].removeprefix("nats://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await reader.readline()
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
    for number in range(times):
        writer.write(b"PUB request.\xff 2\r\nno\r\nPUB request.a _INBOX.\xfe 2\r\nno\r\n")
        for block in (b"NATS/1.0 \xff\xfe\r\n\r\n", b"NATS/1.0\r\nA: \xff\r\n\r\n", *MALFORMED):
            writer.write(b"HPUB other.b %d %d\r\n%b\r\n" % (len(block), len(block), block))
        writer.write(b"PUB request.a 8\r\n%08d\r\n" % number)
    writer.write(b"PING\r\n")
    async with asyncio.timeout(30):
        while await reader.readline() != b"PONG\r\n":
            pass
    assert await all_of(arrived, times) == list(range(times))
    assert bus.connection.client.is_connected
    writer.close()


async def test_socket_that_closed_unnoticed_is_replaced(bus: NatsBus) -> None:
    """If nats-py's reading task has ended without a reconnect, the second failing probe starts one."""
    client = direct(bus)
    reading = client._reading_task
    assert reading is not None
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    watchdog = Watchdog(client, 1.0, 1.0)
    socket: Any = watchdog._writer()
    socket.transport.abort()
    await asyncio.sleep(0)
    for _ in range(2):
        await watchdog._probe()

    async def works() -> bool:
        return client.is_connected and watchdog._writer() is not socket

    await eventually(works, what="a new connection")
    await bus.connection.round_trip(2.0)


async def test_client_that_is_closed_while_it_reconnects_leaves_no_task() -> None:
    served: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(writer)
        with suppress(ConnectionError):
            writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"headers":true}\r\n')
            while line := await reader.readline():
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
        writer.close()

    async def closed(client: DirectClient, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        client.give_up()
        await client.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1_000) as server:
        url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        clients = [DirectClient() for _ in range(100)]
        for client in clients:
            await client.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0, error_cb=_heard)
        for writer in served:
            writer.close()
        await asyncio.gather(*(closed(client, turns) for turns, client in enumerate(clients)))
    assert [task for task in asyncio.all_tasks() if "_attempt_reconnect" in repr(task)] == []
    for writer in served:
        writer.close()


async def _heard(error: Exception) -> None:
    """Receive the disconnection."""
