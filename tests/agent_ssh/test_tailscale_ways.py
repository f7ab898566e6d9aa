"""The ways to a peer of the tailnet, to a real sshd: directly, through a SOCKS5 proxy, by `tailscale nc`."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.agent_ssh.conftest import ARCHIVE

from writ_agent_ssh.backend import SshBackend
from writ_agent_ssh.connection.credentials import SshCredentials
from writ_agent_ssh.connection.host_keys import KnownHosts
from writ_agent_ssh.host_sessions.pool import Pool
from writ_agent_ssh.settings import connection_of
from writ_agent_ssh.tailnet import local_api as client
from writ_agent_ssh.tailnet import socks
from writ_agent_ssh.tailnet.tailscale import Tailnet, command
from writ_contracts.errors import Invalid, Unreachable, Untrusted, WritError
from writ_contracts.inventory import Target
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.eventually import eventually
from writ_testing.peers.sshd import Sshd, descendants, sshd
from writ_testing.peers.tailscale_local_api import Peer, TailscaleState, local_api, node_key
from writ_testing.search import cmdline
from writ_testing.suites.backend import ProgressRecorder, task

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CATALOGUE = load_catalogue()
WEB = Peer(name="web1", addresses=("127.0.0.1",), tags=("tag:web",))
PINNED = {
    "host": "web1",
    "via": "tailscale",
    "tailscale_node_key": node_key("web1"),
    "tailscale_tags": ["tag:web"],
    "host_key_alias": "127.0.0.1",
}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[TailscaleState]:
    with local_api(tmp_path / "tailscaled.sock", WEB) as served:
        yield served


def backend_on(server: Sshd, tailnet: Tailnet) -> SshBackend:
    known, credentials = KnownHosts(server.known_hosts), SshCredentials(server.keys)
    return SshBackend(Pool(ARCHIVE, credentials, known, idle=600.0, connects=4, tailnet=tailnet), ARCHIVE.operations)


def target_on(server: Sshd) -> Target:
    return server.target("web1", connection={**server.connection(), **PINNED})


async def test_userspace_mode_needs_a_way_through_tailscaled(api: TailscaleState) -> None:
    api.tun = False
    target = Target(id="web1", role="testing", backend="ssh", connection={"user": "u", **PINNED})
    with pytest.raises(Invalid, match="WRIT_TAILSCALE_SOCKS5") as refused:
        await Tailnet(client.LocalApi(api.socket)).dial(connection_of(target))
    assert refused.value.code == "tailscale_userspace"


def test_netcat_is_an_argument_vector() -> None:
    argv = command(Path("/usr/bin/tailscale"), Path("/run/t s.sock"), "100.64.9.11", 22)
    assert argv == ["/usr/bin/tailscale", "--socket=/run/t s.sock", "nc", "100.64.9.11", "22"]
    with pytest.raises(ValueError, match="does not appear to be"):
        command(Path("/usr/bin/tailscale"), Path("/run/t.sock"), "--help", 22)


async def proxying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A SOCKS5 proxy without a password, RFC 1928."""
    version, methods = await reader.readexactly(2)
    assert (version, await reader.readexactly(methods)) == (5, b"\0")
    writer.write(b"\5\0")
    _, verb, _, kind = await reader.readexactly(4)
    assert (verb, kind) == (1, 1)
    host = str(ip_address(await reader.readexactly(4)))
    there, over = await asyncio.open_connection(host, int.from_bytes(await reader.readexactly(2), "big"))
    writer.write(b"\5\0\0\3\4name\0\0")
    await asyncio.gather(_copy(reader, over), _copy(there, writer))
    await over.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
    writer.close()


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[str]:
    serving: list[asyncio.Task[None]] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())  # type: ignore[arg-type]
        with suppress(ConnectionError):
            await serve(reader, writer)
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*serving), 20.0)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"", "closed the connection"),
        (b"\5\xff", "needs a password"),
        (b"\4\0", "needs a password"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "needs a password"),
        (b"\5\0\5\1\0\1", "general failure"),
        (b"\5\0\5\4\0\1", "host unreachable"),
        (b"\5\0\5\5\0\1", "connection refused"),
        (b"\5\0\5\x63\0\1", "reply 99"),
        (b"\5\0\4\0\0\1", "does not speak SOCKS5"),
        (b"\5\0\5\0\0\7", "does not speak SOCKS5"),
        (b"\5\0\5\0\0\1\0\0", "closed the connection"),
    ],
)
async def test_a_proxy_that_does_not_connect_is_refused_with_its_reason(reply: bytes, words: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        writer.write_eof()
        await reader.read()

    async with listening(serve) as proxy:
        with pytest.raises(Unreachable, match=words) as refused:
            await socks.connect(proxy, "100.64.9.11", 22)
    assert refused.value.code == "socks_failed"


async def test_a_proxy_that_is_not_there_is_reported_as_such() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="cannot be used"):
            await socks.connect(f"127.0.0.1:{free.getsockname()[1]}", "100.64.9.11", 22)


NETCAT = """#!/usr/bin/python3
import os, socket, sys, threading
assert sys.argv[1].startswith("--socket=/") and sys.argv[2] == "nc" and set(os.environ) <= {"PATH", "LANG", "LC_CTYPE"}
there = socket.create_connection((sys.argv[3], int(sys.argv[4])))
def copy(read, write):
    while piece := read(65536):
        write(piece)
    os._exit(0)
threading.Thread(target=copy, args=(there.recv, lambda piece: os.write(1, piece))).start()
copy(lambda size: os.read(0, size), there.sendall)
"""


async def works(server: Sshd, tailnet: Tailnet) -> None:
    backend = backend_on(server, tailnet)
    try:
        done = await backend.run(task(CATALOGUE["network_status"], target_on(server), "c" * 26), ProgressRecorder())
        assert (done.outcome, done.message) == ("succeeded", "")
    finally:
        await backend.close()


async def test_an_operation_goes_to_the_address_that_tailscaled_shows_and_not_by_the_name(
    api: TailscaleState, tmp_path: Path
) -> None:
    async with sshd(tmp_path / "host") as server:
        await works(server, Tailnet(client.LocalApi(api.socket)))
    assert api.requests == ["/localapi/v0/status?peers=true", f"/localapi/v0/whois?addr=127.0.0.1%3A{server.port}"]


async def test_an_operation_goes_through_the_proxy_of_userspace_mode(api: TailscaleState, tmp_path: Path) -> None:
    api.tun = False
    async with sshd(tmp_path / "host") as server, listening(proxying) as proxy:
        await works(server, Tailnet(client.LocalApi(api.socket), proxy=proxy))


async def test_an_operation_goes_through_netcat_which_ends_with_the_connection(
    api: TailscaleState, tmp_path: Path
) -> None:
    api.tun = False
    program = tmp_path / "tailscale"
    program.write_text(NETCAT)
    program.chmod(0o755)
    async with sshd(tmp_path / "host") as server:
        await works(server, Tailnet(client.LocalApi(api.socket), program=program))

        async def gone() -> bool:
            return not any(str(program).encode() in cmdline(pid) for pid in descendants(os.getpid()))

        await eventually(gone)


async def test_a_peer_with_another_host_key_is_refused_whatever_its_node_key(
    api: TailscaleState, tmp_path: Path
) -> None:
    async with sshd(tmp_path / "host") as server, sshd(tmp_path / "other") as other:
        server.known_hosts.write_text(
            other.known_hosts.read_text().replace(f"[127.0.0.1]:{other.port}", f"[127.0.0.1]:{server.port}")
        )
        backend = backend_on(server, Tailnet(client.LocalApi(api.socket)))
        with pytest.raises(Untrusted) as refused:
            await backend.run(task(CATALOGUE["network_status"], target_on(server), "c" * 26), ProgressRecorder())
        await backend.close()
    assert refused.value.code == "host_key_changed"


def ways(folder: Path, api: TailscaleState, proxy: str) -> dict[str, Tailnet]:
    """Each of them; the last one's netcat carries nothing."""
    local_api, found = client.LocalApi(api.socket), {}
    for name, text in (("netcat", NETCAT), ("mute netcat", "#!/bin/sh\nexec sleep 600\n")):
        program = folder / name.replace(" ", "-")
        program.write_text(text)
        program.chmod(0o755)
        found[name] = Tailnet(local_api, program=program)
    return {"direct": Tailnet(local_api), "proxy": Tailnet(local_api, proxy=proxy), **found}


@pytest.mark.parametrize("way", ["direct", "proxy", "netcat", "mute netcat"])
async def test_refused_way_leaves_no_descriptor_and_no_process(api: TailscaleState, tmp_path: Path, way: str) -> None:
    api.tun = way == "direct"
    code, seconds = ("unreachable", 1) if way == "mute netcat" else ("auth_failed", 20)
    patient = "PerSourcePenalties no"  # who was refused is not let near it again for a while, else
    async with sshd(tmp_path / "host", patient) as server, listening(proxying) as proxy:
        backend = backend_on(server, ways(tmp_path, api, proxy)[way])
        target = target_on(server)
        target = replace(target, connection={**(target.connection or {}), "connect_timeout": seconds})
        (server.folder / "authorized_keys").write_text("")
        before = set(descendants(os.getpid()))  # such as the server, and what other tests keep
        most = len(os.listdir("/proc/self/fd")) + 4  # what may still be on its way out
        for _ in range(8):
            with pytest.raises(WritError) as refused:
                await backend.run(task(CATALOGUE["network_status"], target, "c" * 26), ProgressRecorder())
            assert refused.value.code == code

        async def gone() -> bool:
            left = set(descendants(os.getpid())) - {*before, *server.sessions()}
            return not left and len(os.listdir("/proc/self/fd")) <= most

        await eventually(gone)
        await backend.close()


async def test_a_refused_peer_is_never_connected_to(api: TailscaleState, tmp_path: Path) -> None:
    api.put(Peer(name="web1", addresses=("127.0.0.1",), tags=("tag:web",), key=node_key("thief")))
    async with sshd(tmp_path / "host") as server:
        backend = backend_on(server, Tailnet(client.LocalApi(api.socket)))
        with pytest.raises(Untrusted) as refused:
            await backend.run(task(CATALOGUE["network_status"], target_on(server), "c" * 26), ProgressRecorder())
        await backend.close()
        assert "Connection from" not in server.log.read_text()
    assert refused.value.code == "tailscale_wrong_node"
