"""An SSH server that is away or disconnects before the handshake: it is reported, and no text harms the agent."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from tests.agent_ssh.conftest import SshHost, ssh_host
from tests.agent_ssh.test_connecting import code_of

from writ_agent_ssh.enrolment import shown
from writ_contracts.errors import WritError
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import free_port
from writ_testing.peers.sshd import USER
from writ_testing.peers.tcp_proxy import tcp_proxy


async def test_penalty_of_sshd_after_refused_logins_has_its_own_error(tmp_path: Path) -> None:
    async with ssh_host(tmp_path / "host", "PerSourcePenalties authfail:100 min:10") as host:
        host.server.target()
        (host.server.folder / "authorized_keys").write_text("")
        assert await code_of(host) == "auth_failed"

        async def turned_away() -> bool:
            return await code_of(host) == "turned_away"

        await eventually(turned_away)
        with pytest.raises(WritError, match="refuses the connection: Not allowed at this time"):
            await host.run("network_status")
        with pytest.raises(WritError, match="refuses the connection: Not allowed at this time") as refused:
            await shown("127.0.0.1", host.server.port)
        assert refused.value.code == "turned_away"


async def test_port_without_a_server_is_reported_in_the_words_of_the_system() -> None:
    port = free_port()
    with pytest.raises(WritError) as found:
        await shown("127.0.0.1", port)
    assert str(found.value) == f"127.0.0.1:{port} cannot be reached: Connection refused"


async def test_connects_to_a_host_on_the_way_to_many_are_bounded_too(host: SshHost) -> None:
    """sshd rejects connections at random while ten are not authenticated (MaxStartups)."""
    async with tcp_proxy(host.server.port) as proxy:
        host.server.trust([proxy.port])
        proxy.stall()
        way = [{"host": "127.0.0.1", "port": proxy.port, "user": USER}]
        connections = [host.server.connection(port=port, jump=way, connect_timeout=2.0) for port in range(1, 10)]
        targets = [host.server.target(f"t{of['port']}", connection=of) for of in connections]
        for target in targets:
            host.server.authorize(f"{target.id}.jump")
        waiting = [asyncio.create_task(host.pool.session(target)) for target in targets]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert proxy.accepted == 4
        proxy.flow()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert {getattr(end, "code", "") for end in ends} == {"unreachable"}


async def test_host_that_opens_no_session_is_named_with_the_setting_of_sshd(tmp_path: Path) -> None:
    async with ssh_host(tmp_path / "host", "MaxSessions 0") as host:
        host.server.target()
        with pytest.raises(WritError, match=r"accepts the login and opens no session: .*MaxSessions") as refused:
            await host.run("network_status")
        assert refused.value.code == "no_session"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("echo For backups only", "status 0 after writing 'For backups only'"),
        ("/bin/false", "status 1: look for"),
        ("sh -c 'echo For backups only >&2'", "the agent's log has its output. If the host ran another command"),
    ],
)
async def test_host_that_runs_another_command_is_named_with_where_to_look(
    tmp_path: Path, command: str, told: str
) -> None:
    async with ssh_host(tmp_path / "host", f"ForceCommand {command}") as host:
        host.server.target()
        with pytest.raises(WritError, match=f"{told}.*ForceCommand") as refused:
            await host.run("network_status")
        assert refused.value.code == "connection_lost"


@pytest.mark.parametrize("banner", [b"\xff\x00 no\r\n", b"x" * 200_000, b"", b"SSH-2.0-x\r\n" + bytes(64), b"\n" * 60])
async def test_server_that_closes_after_its_banner_is_unreachable(host: SshHost, banner: bytes) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(banner)
        with suppress(OSError):
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        host.server.trust([port])
        assert await code_of(host, port=port) in ("unreachable", "turned_away")
        with pytest.raises(WritError) as refused:
            await shown("127.0.0.1", port)
        assert refused.value.code in ("unreachable", "turned_away")
