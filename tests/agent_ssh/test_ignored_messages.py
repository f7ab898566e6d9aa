"""Connections without SSH_MSG_IGNORE: none is sent once the login is done, and keys are changed as before."""

import os
from pathlib import Path

import asyncssh
import pytest
from asyncssh.constants import MSG_IGNORE, MSG_KEXINIT
from tests.agent_ssh.conftest import ssh_host

from writ_agent_ssh.connection.algorithms import CIPHERS

TEXT = os.urandom(400_000).hex()


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_large_contents_arrive_whole_while_the_host_changes_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cipher: str
) -> None:
    sent: list[int] = []
    real = asyncssh.SSHClientConnection.log_sent_packet

    def noted(self: asyncssh.SSHClientConnection, kind: int, sequence: int, payload: bytes, note: str = "") -> None:
        sent.append(kind)
        real(self, kind, sequence, payload, note)

    monkeypatch.setattr(asyncssh.SSHClientConnection, "log_sent_packet", noted)
    async with ssh_host(tmp_path / "host", f"Ciphers {cipher}", "RekeyLimit 256K") as host:
        path = str(host.root / "file")
        for number in range(3):
            content = TEXT + str(number)
            written = await host.run("file_write", f"{'a' * 25}{'bcd'[number]}", file_path=path, content=content)
            assert (written.outcome, written.code) == ("succeeded", "")
            read = await host.run("file_read", f"{'a' * 25}{'efg'[number]}", file_path=path)
            assert read.output["content"] == content
    assert sent.count(MSG_KEXINIT) > 3
    # Those before the end of the login are asyncssh's own.
    assert sent.count(MSG_IGNORE) < 10
