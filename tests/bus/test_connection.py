"""A connection fails, waits or is replaced while the server is absent, silent, or refuses it."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client

from writ_bus.errors import BusRefused, Forbidden, TimedOut, Unreachable
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.nats.client.watchdog import UNACKNOWLEDGED_MS
from writ_bus.nats.options import Options, next_server
from writ_bus.nats.replies import Replies
from writ_bus.port import Bus, Message
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import WritServer, anybody, free_port, open_server, transport_info, writ_server
from writ_testing.peers.tcp_proxy import TcpProxy, tcp_proxy
from writ_testing.suites.bus_fixture import ASK, REQUESTS, SOON, echo, service
from writ_trust.keys import generate_seed


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WritServer]:
    async with writ_server(tmp_path, pools=()) as server:
        yield server


async def test_unknown_key_is_forbidden_at_once(server: WritServer) -> None:
    async with asyncio.timeout(15.0):
        with pytest.raises(Forbidden) as forbidden:
            await connect(server.options("alice", seed=generate_seed(), wait=30.0))
    assert str(forbidden.value) == f"{server.url} does not know the key of alice"


async def test_foreign_inbox_is_forbidden_at_once(server: WritServer) -> None:
    with pytest.raises(Forbidden) as forbidden:
        await connect(server.options("alice", inbox_prefix="_INBOX_bob"))
    refused = f"{server.url} does not permit alice to receive replies in _INBOX_bob: its key is another user's"
    assert str(forbidden.value) == refused


async def test_absent_server_is_unreachable_within_the_timeout() -> None:
    started = time.monotonic()
    with pytest.raises(Unreachable, match="cannot be reached") as unreachable:
        await connect(anybody(f"nats://127.0.0.1:{free_port()}", wait=0.5))
    assert time.monotonic() - started < 15.0  # without the half second it would be 30
    assert str(unreachable.value).endswith(" cannot be reached: connection refused, so no server listens there")


async def test_silent_server_is_unreachable_within_the_timeout() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, asyncio.timeout(SOON):
        with pytest.raises(Unreachable, match=r"cannot be reached: no answer in 0\.5 s$"):
            await connect(anybody(f"nats://127.0.0.1:{port}", wait=0.5))
        # The library gives up after 2 s, by a timeout without a text.
        with pytest.raises(Unreachable, match=r"cannot be reached: no answer in 2\.5 s$"):
            await connect(anybody(f"nats://127.0.0.1:{port}", wait=2.5))


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b""])
async def test_port_of_another_program_is_said_to_be_no_nats_server(greeting: bytes) -> None:
    async def greets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    listener = await asyncio.start_server(greets, "127.0.0.1", 0)
    url = f"nats://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener, asyncio.timeout(SOON):
        with pytest.raises(Unreachable) as unreachable:
            await connect(anybody(url, wait=0.5))
    assert str(unreachable.value) == f"{url} cannot be reached: what listens there did not begin as a NATS server does"


@pytest.mark.parametrize("step", ["_connect_to_server", "_process_connect_init"])
async def test_connecting_ends_although_nats_py_drops_its_cancellation(
    step: str, server: WritServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `asyncio.wait_for` of Python 3.11 does if the server's refusal arrives in the same moment."""
    real = getattr(Client, step)

    async def refused(self: Client, *arguments: object) -> None:
        await real(self, *arguments)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise nats.errors.Error("maximum account active connections exceeded") from None

    monkeypatch.setattr(Client, step, refused)
    connecting = asyncio.create_task(connect(server.options("alice", wait=0.5)))
    await asyncio.wait({connecting}, timeout=SOON)
    assert connecting.done()
    with pytest.raises(Unreachable):
        connecting.result()


async def test_connecting_waits_for_a_server_that_comes_later(tmp_path: Path) -> None:
    async with open_server(tmp_path) as (process, url):
        await process.stop()
        connecting = asyncio.create_task(connect(anybody(url, wait=SOON)))
        await asyncio.wait({connecting}, timeout=0.2)
        port, monitor = int(url.rpartition(":")[2]), free_port()
        (tmp_path / "later.conf").write_text(f"host: 127.0.0.1\nport: {port}\nhttp: 127.0.0.1:{monitor}\n")
        later = await type(process).start(
            tmp_path / "later.conf", tmp_path / "later.log", port=port, monitor_port=monitor
        )
        bus = await connecting
        assert bus.connected
        await bus.close()
        await later.stop()


async def test_bus_buffers_nothing_while_the_server_is_away_and_works_afterwards(server: WritServer) -> None:
    executor, alice = await server.bus("executor"), await server.bus("alice")
    await executor.serve(service("executor", REQUESTS, echo))
    await server.process.kill()

    async def away() -> bool:
        return not alice.connected

    await eventually(away)
    with pytest.raises(Unreachable):
        await alice.publish(ASK, b"")
    await server.start()
    assert (await alice.request(ASK, b"again", timeout=SOON)).data == b"again"


async def unanswered(executor: Bus) -> asyncio.Event:
    """Serve requests without ever answering one. Return the event that is set by the first."""
    began = asyncio.Event()

    async def never(message: Message) -> bytes:
        began.set()
        await asyncio.Event().wait()
        return b""

    await executor.serve(service("executor", REQUESTS, never))
    return began


async def test_request_in_flight_fails_at_once_if_the_connection_breaks(server: WritServer) -> None:
    alice, began = await server.bus("alice"), await unanswered(await server.bus("executor"))
    request = asyncio.create_task(alice.request(ASK, b"", timeout=60.0))
    await began.wait()
    await server.process.kill()
    async with asyncio.timeout(SOON):
        with pytest.raises(TimedOut, match="connection was lost"):
            await request
    await server.start()


async def test_request_to_all_fails_if_the_connection_breaks_since_replies_may_be_missing(server: WritServer) -> None:
    alice, began = await server.bus("alice"), await unanswered(await server.bus("executor"))
    request = asyncio.create_task(alice.request_many(ASK, b"", timeout=60.0))
    await began.wait()
    await server.process.kill()
    async with asyncio.timeout(SOON):
        with pytest.raises(TimedOut, match="connection was lost"):
            await request
    await server.start()


async def test_message_above_the_servers_limit_is_refused_before_it_is_sent(server: WritServer) -> None:
    alice = await server.bus("alice")
    with pytest.raises(BusRefused) as refused:
        await alice.request(ASK, b"x" * 3_000_000, timeout=SOON)
    assert refused.value.code == "oversize"
    assert alice.connected


async def test_headers_above_the_servers_limit_do_not_end_the_connection(server: WritServer) -> None:
    alice = await server.bus("alice")
    lost = list[bool]()
    alice.connection.on_lost.append(lambda: lost.append(True))
    with pytest.raises(BusRefused) as refused:
        await alice.request(ASK, b"x" * alice.connection.client.max_payload, timeout=SOON, headers={"A": "b"})
    assert refused.value.code == "oversize"
    assert lost == []


async def test_user_that_is_removed_from_the_configuration_is_disconnected(server: WritServer) -> None:
    from msgspec.structs import replace

    from writ_nats_server.config import render

    bob = await server.bus("bob")
    plan = replace(server.plan, principals={"alice": server.plan.principals["alice"]})
    server.config.write_text(render(plan))
    await server.process.reload()

    async def gone() -> bool:
        return not bob.connected

    await eventually(gone)


@pytest.fixture
async def proxied(tmp_path: Path) -> AsyncIterator[tuple[TcpProxy, NatsBus, NatsBus]]:
    """Yield a bus through a proxy, and a direct one."""
    async with open_server(tmp_path) as (_, url), tcp_proxy(int(url.rpartition(":")[2])) as proxy:
        # The real intervals are 5 s and 10 s; a fifth of them keeps the test short.
        through = f"nats://127.0.0.1:{proxy.port}"
        bus = await connect(anybody(through, probe_every=1.0, probe_patience=2.0))
        direct = await connect(anybody(url))
        yield proxy, bus, direct
        await bus.close()
        await direct.close()


async def test_connecting_goes_on_where_the_server_cuts_it_off(
    proxied: tuple[TcpProxy, NatsBus, NatsBus], monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-server cuts off new connections while it reloads its configuration."""
    proxy, _, direct = proxied
    await direct.serve(service("executor", REQUESTS, echo))
    open_replies, cuts = Replies.open, 0

    async def cut_off_once(replies: Replies) -> None:
        nonlocal cuts
        cuts += 1
        if cuts == 1:
            lost = asyncio.Event()  # nats-py is connected again within 25 to 50 ms, which a poll can miss
            replies._connection.on_lost.append(lost.set)
            proxy.cut()
            proxy.flow()
            async with asyncio.timeout(SOON):
                await lost.wait()
        await open_replies(replies)

    monkeypatch.setattr(Replies, "open", cut_off_once)
    bus = await connect(anybody(f"nats://127.0.0.1:{proxy.port}"))
    assert (await bus.request(ASK, b"again", timeout=SOON)).data == b"again"
    assert cuts == 2
    await bus.close()


@pytest.mark.parametrize("client", ["direct", "plain"])
async def test_round_trip_fails_at_once_if_the_connection_breaks(tmp_path: Path, client: str) -> None:
    async with open_server(tmp_path) as (_, url), tcp_proxy(int(url.rpartition(":")[2])) as proxy:
        bus = await connect(anybody(f"nats://127.0.0.1:{proxy.port}", client=client))
        proxy.stall()
        waiting = asyncio.create_task(bus.connection.round_trip(60.0))
        await asyncio.wait({waiting}, timeout=0.2)
        assert not waiting.done()
        proxy.cut()
        proxy.flow()
        async with asyncio.timeout(SOON):
            with pytest.raises(Unreachable, match="connection was lost"):
                await waiting
        await bus.close()


async def test_connecting_goes_on_where_the_server_cuts_it_off_before_it_confirms_the_subscription(
    proxied: tuple[TcpProxy, NatsBus, NatsBus], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, _, direct = proxied
    await direct.serve(service("executor", REQUESTS, echo))
    open_replies, attempts = Replies.open, 0

    async def open_while_stalled_once(replies: Replies) -> None:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            await open_replies(replies)
            return
        proxy.stall()
        opening = asyncio.create_task(open_replies(replies))
        await asyncio.wait({opening}, timeout=0.2)
        proxy.cut()
        proxy.flow()
        await opening

    monkeypatch.setattr(Replies, "open", open_while_stalled_once)
    async with asyncio.timeout(SOON):
        bus = await connect(anybody(f"nats://127.0.0.1:{proxy.port}"))
    assert (await bus.request(ASK, b"again", timeout=SOON)).data == b"again"
    assert attempts == 2
    await bus.close()


def test_silent_connection_is_noticed_within_thirty_seconds() -> None:
    options = Options(name="", servers=[], seed=b"", inbox_prefix="")
    assert options.probe_every + options.probe_patience <= 20.0
    assert UNACKNOWLEDGED_MS <= 20_000


@pytest.mark.parametrize("writing", [False, True], ids=["idle", "writing"])
async def test_half_open_connection_is_replaced(proxied: tuple[TcpProxy, NatsBus, NatsBus], writing: bool) -> None:
    proxy, bus, direct = proxied
    await direct.serve(service("executor", REQUESTS, echo))
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            try:
                await bus.publish("some.where", b"x" * 100_000)
            except Unreachable:
                await bus.connection.wait_up(0.01)
            await asyncio.sleep(0)

    writer = asyncio.create_task(write()) if writing else None
    proxy.stall()

    async def noticed() -> bool:
        return not bus.connected

    await eventually(noticed, within=15.0)  # the kernel itself would after 20
    stop.set()
    proxy.flow()
    assert (await bus.request(ASK, b"through", timeout=SOON)).data == b"through"
    assert proxy.accepted >= 2
    if writer:
        await writer


async def test_unacknowledged_data_has_a_limit_in_the_kernel(proxied: tuple[TcpProxy, NatsBus, NatsBus]) -> None:
    _, bus, _ = proxied
    sock = transport_info(bus, "socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNACKNOWLEDGED_MS


def test_reconnecting_prefers_the_server_that_failed_least_and_waits_longer_each_time() -> None:
    from nats.aio.client import Server

    class Uri:
        netloc = "x"

    tired, fresh = Server(Uri(), 9), Server(Uri(), 0)  # type: ignore[arg-type]
    assert all(next_server([tired, fresh], {})[0] is fresh for _ in range(20))
    assert max(next_server([fresh], {})[1] for _ in range(50)) <= 0.05
    pauses = [next_server([tired], {})[1] for _ in range(50)]
    assert 1.0 <= min(pauses) < max(pauses) <= 2.0
