"""Host keys, user keys, algorithms and routes: the SSH agent against a real sshd."""

import asyncio
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import MSG_CHANNEL_DATA, MSG_IGNORE
from tests.agent_ssh.conftest import ID, SshHost, ssh_host

from writ_agent.backends.operation_threads import OperationThreads
from writ_agent.backends.port import TaskResult
from writ_agent.work.running import RunningOperation
from writ_agent_ssh.connection.algorithms import CIPHERS
from writ_contracts.errors import WritError
from writ_testing.eventually import eventually
from writ_testing.peers.programs import program
from writ_testing.peers.sshd import USER, make_key, sshd
from writ_testing.peers.tcp_proxy import tcp_proxy
from writ_testing.suites.backend import ProgressRecorder


async def code_of(host: SshHost, **connection: Any) -> str:
    """Why it cannot be reached; "" if it can."""
    host.target = host.server.target(connection=host.server.connection(**connection))
    try:
        done: TaskResult = await host.run("network_status")
    except WritError as error:
        return error.code
    return done.code


async def test_no_message_is_sent_for_the_host_to_ignore(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, send = [], asyncssh.SSHClientConnection.send_packet

    def noted(self: asyncssh.SSHClientConnection, kind: int, *parts: bytes, **options: Any) -> None:
        sent.append(kind)
        send(self, kind, *parts, **options)

    monkeypatch.setattr(asyncssh.SSHClientConnection, "send_packet", noted)
    assert await code_of(host) == ""
    sent.clear()
    assert await code_of(host) == ""
    assert MSG_CHANNEL_DATA in sent
    assert MSG_IGNORE not in sent
    assert not any("cbc" in cipher for cipher in CIPHERS), "they defend this mode"


async def test_a_changed_host_key_is_refused(host: SshHost) -> None:
    make_key(host.server.folder / "other")
    key = (host.server.folder / "other.pub").read_text()
    host.server.known_hosts.write_text(f"[127.0.0.1]:{host.server.port} {key}")
    assert await code_of(host) == "host_key_changed"
    assert "Accepted" not in host.server.log.read_text()


async def test_a_key_of_another_kind_than_the_one_on_record_is_a_changed_one(host: SshHost) -> None:
    make_key(host.server.folder / "other", "ecdsa")
    key = (host.server.folder / "other.pub").read_text()
    host.server.known_hosts.write_text(f"[127.0.0.1]:{host.server.port} {key}")
    assert await code_of(host) == "host_key_changed"


async def test_a_host_that_nobody_put_on_record_is_refused(host: SshHost) -> None:
    host.server.known_hosts.write_text("")
    assert await code_of(host) == "host_key_unknown"
    host.server.known_hosts.unlink()
    assert await code_of(host) == "invalid_known_hosts"


async def test_a_revoked_key_is_refused(host: SshHost) -> None:
    line = host.server.known_hosts.read_text()
    host.server.known_hosts.write_text(f"{line}@revoked {line}")
    assert await code_of(host) == "host_key_changed"


async def test_the_key_in_the_inventory_is_the_one_that_counts(host: SshHost) -> None:
    own = (host.server.folder / "host_key.pub").read_text().strip()
    make_key(host.server.folder / "other")
    other = (host.server.folder / "other.pub").read_text().strip()
    assert await code_of(host, host_keys=[other]) == "host_key_changed"
    host.server.known_hosts.write_text("")
    assert await code_of(host, host_keys=[own]) == ""


async def test_a_host_authority_vouches_for_hosts(tmp_path: Path) -> None:
    make_key(tmp_path / "authority")
    certificate = f"HostCertificate {tmp_path}/host/host_key-cert.pub"
    async with ssh_host(tmp_path / "host", certificate) as host:
        sign(tmp_path / "authority", tmp_path / "host" / "host_key.pub", "-h", "-n", "127.0.0.1")
        await host.server.stop()
        await host.server.start()
        authority = (tmp_path / "authority.pub").read_text()
        plain = host.server.known_hosts.read_text()
        assert await code_of(host) == ""  # the plain key is on record, the authority is not
        await host.pool.close()
        host.server.known_hosts.write_text(f"@cert-authority [127.0.0.1]:{host.server.port} {authority}")
        assert await code_of(host) == ""
        await host.pool.close()
        host.server.known_hosts.write_text(f"@cert-authority other.example.org {authority}")
        assert await code_of(host) == "host_key_unknown"
        assert plain


async def test_a_certificate_opens_as_long_as_it_is_valid(tmp_path: Path) -> None:
    make_key(tmp_path / "authority")
    async with ssh_host(tmp_path / "host", f"TrustedUserCAKeys {tmp_path}/authority.pub") as host:
        (host.server.folder / "authorized_keys").write_text("")
        assert await code_of(host) == "auth_failed"
        public = host.server.keys / "web1.pub"
        sign(tmp_path / "authority", public, "-n", USER, "-V", "-2h:-1h")
        assert await code_of(host) == "auth_failed"
        sign(tmp_path / "authority", public, "-n", USER, "-V", "+5m")
        assert await code_of(host) == ""


async def test_a_rejected_key_says_so(host: SshHost) -> None:
    (host.server.folder / "authorized_keys").write_text("")
    assert await code_of(host) == "auth_failed"


async def test_a_key_that_others_can_read_is_not_used(host: SshHost) -> None:
    (host.server.keys / "web1").chmod(0o640)
    assert await code_of(host) == "no_credentials"
    (host.server.keys / "web1").unlink()
    assert await code_of(host) == "no_credentials"


@pytest.mark.parametrize(
    "weak",
    [
        "KexAlgorithms diffie-hellman-group14-sha256",
        "KexAlgorithms diffie-hellman-group14-sha1,diffie-hellman-group-exchange-sha1,diffie-hellman-group1-sha1",
        "KexAlgorithms ecdh-sha2-nistp256",
        "Ciphers aes128-ctr,aes128-cbc",
        "Ciphers aes256-ctr",
        "Ciphers 3des-cbc",
    ],
)
async def test_a_server_that_offers_only_weak_algorithms_is_refused(weak: str, tmp_path: Path) -> None:
    async with ssh_host(tmp_path / "host", weak) as host:
        assert await code_of(host) == "weak_algorithms"


@pytest.mark.parametrize(
    ("offered", "code"),
    [("ssh-rsa", "weak_algorithms"), ("rsa-sha2-256", "weak_algorithms"), ("ssh-rsa,rsa-sha2-512", "")],
)
async def test_a_server_that_signs_with_sha_1_alone_is_refused_though_its_key_is_on_record(
    offered: str, code: str, tmp_path: Path
) -> None:
    key = tmp_path / "rsa"
    make_key(key, "rsa")
    async with ssh_host(tmp_path / "host", f"HostKey {key}", f"HostKeyAlgorithms {offered}") as host:
        kind, data = key.with_suffix(".pub").read_text().split()[:2]
        host.server.known_hosts.write_text(f"[127.0.0.1]:{host.server.port} {kind} {data}\n")
        assert await code_of(host) == code
        assert ("Accepted" in host.server.log.read_text()) is (code == "")


async def test_inventory_narrows_the_ssh_algorithms_and_never_widens_them(host: SshHost) -> None:
    assert await code_of(host, kex=["diffie-hellman-group14-sha256"]) == "invalid_connection"
    assert await code_of(host, ciphers=["aes128-ctr"]) == "invalid_connection"
    assert await code_of(host, macs=[]) == "invalid_connection"
    assert await code_of(host, ciphers=["aes256-gcm@openssh.com"], kex=["curve25519-sha256"]) == ""
    assert await code_of(host, nonsense=True) == "invalid_connection"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("+aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
        ("chacha20-poly1305@openssh.com,aes128-ctr", "chacha20-poly1305@openssh.com"),
    ],
)
async def test_aes_gcm_is_preferred_and_chacha20_used_where_there_is_none(
    offered: str, chosen: str, tmp_path: Path
) -> None:
    async with ssh_host(tmp_path / "host", "LogLevel DEBUG", f"Ciphers {offered}") as host:
        assert await code_of(host) == ""
        assert f"kex: client->server cipher: {chosen} MAC" in host.server.log.read_text()


async def test_nothing_of_the_user_who_runs_it_is_read(
    host: SshHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "config").write_text("Host *\n  UserKnownHostsFile none\n  StrictHostKeyChecking no\n")
    shutil.copy(host.server.known_hosts, folder / "known_hosts")
    shutil.copy(host.server.keys / "web1", folder / "id_ed25519")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    host.server.known_hosts.write_text("")
    assert await code_of(host) == "host_key_unknown"
    host.server.trust()
    (host.server.keys / "web1").unlink()
    assert await code_of(host) == "no_credentials"


async def test_absent_host_is_unreachable_within_the_connect_timeout(host: SshHost) -> None:
    assert await code_of(host, port=1) == "unreachable"
    silent = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        assert await code_of(host, port=port, connect_timeout=0.5) == "unreachable"


async def test_baseline_retries_a_host_that_is_down(host: SshHost) -> None:
    await host.server.stop()
    looking = asyncio.create_task(host.backend.baseline(host.change(ID)))
    assert (await _code(host)) == "unreachable"  # and what is claimed already is not
    await host.server.start()
    assert await asyncio.wait_for(looking, 20) == {"lines": 0}


async def test_a_jump_host_is_on_the_way_with_a_key_of_its_own(host: SshHost, tmp_path: Path) -> None:
    async with sshd(tmp_path / "jump") as jump:
        public = jump.folder / "host_key.pub"
        known = f"[127.0.0.1]:{jump.port} {public.read_text()}"
        host.server.known_hosts.write_text(host.server.known_hosts.read_text() + known)
        way = [{"host": "127.0.0.1", "port": jump.port, "user": USER}]
        assert await code_of(host, jump=way) == "no_credentials"
        make_key(host.server.keys / "web1.jump")
        assert await code_of(host, jump=way) == "auth_failed"
        (jump.folder / "authorized_keys").write_text((host.server.keys / "web1.jump.pub").read_text())
        assert await code_of(host, jump=way) == ""
        assert jump.log.read_text().count("Accepted publickey") == 1
        host.server.known_hosts.write_text(host.server.known_hosts.read_text().replace(known, ""))
        await host.pool.close()
        assert await code_of(host, jump=way) == "host_key_unknown"


async def test_two_targets_share_neither_connection_nor_key(host: SshHost) -> None:
    await host.run("network_status")
    host.target = host.server.target("web2")
    await host.run("network_status")
    log = [line for line in host.server.log.read_text().splitlines() if "Accepted publickey" in line]
    assert len(log) == 2
    assert len({line.split("SHA256:")[1] for line in log}) == 2


async def test_another_connection_in_the_inventory_is_another_connection(host: SshHost) -> None:
    await host.run("network_status")
    assert await code_of(host, keepalive=20.0) == ""
    assert host.server.log.read_text().count("Accepted publickey") == 2


async def test_a_kept_connection_that_fell_silent_is_noticed_and_renewed(host: SshHost) -> None:
    async with tcp_proxy(host.server.port) as proxy:
        host.server.trust([proxy.port])
        connection = host.server.connection(port=proxy.port, keepalive=1.0)
        host.target = host.server.target(connection=connection)
        kept = await host.pool.session(host.target)
        proxy.stall()

        async def lost() -> bool:
            return kept.lost

        await eventually(lost)
        proxy.flow()
        assert (await host.run("network_status")).outcome == "succeeded"


async def test_connects_to_one_host_at_once_are_bounded(host: SshHost) -> None:
    async with tcp_proxy(host.server.port) as proxy:
        host.server.trust([proxy.port])
        proxy.stall()
        targets = [
            host.server.target(f"t{number}", connection=host.server.connection(port=proxy.port)) for number in range(9)
        ]
        waiting = [asyncio.create_task(host.pool.session(target)) for target in targets]

        async def four() -> bool:
            return proxy.accepted == 4

        await eventually(four)
        proxy.flow()
        sessions = await asyncio.gather(*waiting)
        assert len({id(session) for session in sessions}) == 9


async def test_an_unused_connection_is_closed(tmp_path: Path) -> None:
    async with sshd(tmp_path / "host") as server:
        host = SshHost(server, idle=0.2)
        await host.run("network_status")

        async def none() -> bool:
            return server.sessions() == []

        await eventually(none)
        assert (await host.run("network_status", "e" * 26)).outcome == "succeeded"
        await host.backend.close()


def sign(authority: Path, public: Path, *options: str) -> None:
    """A certificate beside the public key."""
    command = [program("ssh-keygen"), "-q", "-s", str(authority), "-I", "test", *options, str(public)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def _code(host: SshHost) -> str:
    try:
        await host.run("network_status")
    except WritError as error:
        return error.code
    return ""


async def test_cancel_during_the_resolution_of_a_name_is_certain(
    host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, replies, real = threading.Event(), threading.Event(), socket.getaddrinfo

    def hangs(*about: Any, **more: Any) -> Any:
        if more.get("flags", 0) & socket.AI_NUMERICHOST:
            return real(*about, **more)  # it resolves nothing
        begun.set()
        replies.wait(60)
        raise socket.gaierror("no name server replies")

    async def has_begun() -> bool:
        return begun.is_set()

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    asyncio.get_running_loop().set_default_executor(OperationThreads())
    host.target = host.server.target(connection=host.server.connection(host="web.example"))
    running = RunningOperation(host.backend, host.change(ID), ProgressRecorder(), 1.0)
    try:
        await eventually(has_begun, what="the resolution")
        assert await running.stop("cancel")
        done = await running.wait()
    finally:
        replies.set()
    assert (done.outcome, done.effect, done.over) == ("cancelled", "none", True)
