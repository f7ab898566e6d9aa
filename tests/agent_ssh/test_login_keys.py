"""Login keys with a passphrase or in an ssh-agent, with a real sshd and a real ssh-agent."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest
from tests.agent_ssh.conftest import SshHost
from tests.agent_ssh.test_connecting import code_of

from writ_agent_ssh.connection.credentials import SshCredentials
from writ_installation.processes.child import tie
from writ_testing.peers.programs import program
from writ_testing.peers.sshd import make_key


@contextmanager
def ssh_agent(socket: Path) -> Iterator[None]:
    """An ssh-agent on this socket, with no keys yet."""
    process = subprocess.Popen([*tie(), program("ssh-agent"), "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # written once it listens
        yield
    finally:
        process.terminate()
        process.communicate(timeout=10)


def add(socket: Path, key: Path) -> None:
    environ = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
    subprocess.run([program("ssh-add"), "-q", str(key)], env=environ, check=True, timeout=10)


def with_agent(host: SshHost, socket: Path) -> None:
    host.pool._credentials = SshCredentials(host.server.keys, socket)


@pytest.mark.parametrize("form", ["openssh", "pkcs8-pem"])
async def test_a_key_with_a_passphrase_opens_by_the_file_beside_it(host: SshHost, form: str) -> None:
    key = host.server.keys / "web1"
    plain = asyncssh.import_private_key(key.read_bytes())
    key.write_bytes(plain.export_private_key(form, passphrase="one two", rounds=1, ignore_few_rounds=True))
    assert await code_of(host) == "no_credentials"
    secret = host.server.keys / "web1.passphrase"
    secret.write_text("one two\n")
    secret.chmod(0o600)
    assert await code_of(host) == ""
    await host.pool.close()
    secret.write_text("wrong\n")
    assert await code_of(host) == "no_credentials"
    secret.chmod(0o644)
    assert await code_of(host) == "no_credentials"


async def test_an_ssh_agent_signs_for_the_target_whose_public_key_is_there(host: SshHost, tmp_path: Path) -> None:
    socket, key = tmp_path / "agent.sock", host.server.keys / "web1"
    away = tmp_path / "web1"
    with ssh_agent(socket):
        key.rename(away)
        assert await code_of(host) == "no_credentials"  # without WRIT_SSH_AUTH_SOCK nobody asks an agent
        with_agent(host, socket)
        assert await code_of(host) == "no_credentials"
        make_key(tmp_path / "other")
        add(socket, tmp_path / "other")
        assert await code_of(host) == "no_credentials"
        add(socket, away)
        assert await code_of(host) == ""
        await host.pool.close()
        key.with_name("web1.pub").rename(tmp_path / "web1.pub")
        assert await code_of(host) == "no_credentials"  # a target names its own key, never whichever opens
    (tmp_path / "web1.pub").rename(key.with_name("web1.pub"))
    assert await code_of(host) == "no_credentials"
