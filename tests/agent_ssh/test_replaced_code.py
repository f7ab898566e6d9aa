"""The code on a host is replaced while connections start: each runs what was sent, or nothing."""

import asyncio
import os
from pathlib import Path

import pytest
from tests.agent_ssh.conftest import ARCHIVE, SshHost

from writ_agent_ssh.startup.bootstrap import contents, unpacked


def code_of(host: SshHost) -> Path:
    """Return the folder of the code on the host."""
    return host.server.host_folder / "code" / ARCHIVE.digest


def test_what_another_python_left_in_place_of_the_code_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A foreign Python makes the folders of its bytecode again after they were moved away."""
    code = tmp_path / ARCHIVE.digest
    rename = os.rename

    def foreign(source: str, to: str) -> None:
        if to == str(code) and not code.exists():
            (code / "writ_hostops" / "__pycache__").mkdir(parents=True)
            (code / "writ_hostops" / "__pycache__" / "x.pyc").write_bytes(b"bytecode")
            monkeypatch.setattr(os, "rename", rename)
        rename(source, to)

    monkeypatch.setattr(os, "rename", foreign)
    assert unpacked(ARCHIVE.data, str(code), ARCHIVE.contents) == str(code)
    assert contents(str(code)) == ARCHIVE.contents
    assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE.digest]


def test_code_that_something_spoils_again_and_again_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = tmp_path / ARCHIVE.digest
    rename = os.rename

    def foreign(source: str, to: str) -> None:
        if to == str(code):
            (code / "writ_hostops").mkdir(parents=True, exist_ok=True)
        rename(source, to)

    monkeypatch.setattr(os, "rename", foreign)
    with pytest.raises(OSError, match="writes into it"):
        unpacked(ARCHIVE.data, str(code), ARCHIVE.contents)


async def test_connections_that_start_at_once_on_spoilt_code_all_run(host: SshHost) -> None:
    assert (await host.run("network_status")).outcome == "succeeded"
    await host.pool.close()
    others = [SshHost(host.server) for _ in range(6)]
    for _ in range(3):
        (code_of(host) / "spoilt.py").touch()
        done = await asyncio.gather(*(one.run("network_status") for one in others))
        assert [one.outcome for one in done] == ["succeeded"] * 6
        for one in others:
            await one.pool.close()
