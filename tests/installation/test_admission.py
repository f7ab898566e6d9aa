"""NATS follows the files while processes start or end, also after an interruption."""

import asyncio
import os
from pathlib import Path

import pytest

from writ_installation.files import list_edits
from writ_installation.files.home import Home
from writ_installation.nats import disk
from writ_installation.nats import server as bundled
from writ_installation.nats.server import BundledServer, free_port
from writ_installation.server_access.server_address import ServerAddress
from writ_installation.supervisor.admission import keep_admitted
from writ_nats_server.process import ServerProcess
from writ_testing.installations.installation import prepare


async def test_a_file_that_changed_before_the_first_read_is_followed() -> None:
    adapted = asyncio.Event()

    async def adapt() -> None:
        adapted.set()

    following = asyncio.create_task(keep_admitted(adapt, lambda: "new", 0.01, "as the server read it"))
    await asyncio.wait_for(adapted.wait(), 30)
    following.cancel()


async def test_a_change_that_is_taken_back_after_an_interrupted_reload_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home: Home = prepare(tmp_path)
    address = ServerAddress(host="127.0.0.1", port=free_port(), monitor_port=free_port())
    server = BundledServer(home, address, lambda _: None, os.environ)
    await server.start()
    try:
        before, reload, reloaded = home.principals.read_bytes(), ServerProcess.reload, asyncio.Event()

        async def interrupted(process: ServerProcess) -> None:
            await reload(process)
            reloaded.set()
            await asyncio.Event().wait()

        key = home.make_key("principal-bob").public
        entry = {"id": "bob", "kind": "human", "roles": [], "key": key}
        list_edits.append(home.principals, "principals", entry, unique="id")
        monkeypatch.setattr(ServerProcess, "reload", interrupted)
        adapting = asyncio.create_task(server.adapt())
        await reloaded.wait()
        adapting.cancel()
        await asyncio.wait([adapting])
        monkeypatch.undo()
        home.principals.write_bytes(before)
        assert await server.adapt()
        assert key not in home.server_config.read_text()
        assert not await server.adapt()
    finally:
        await server.stop()


async def test_every_warning_of_the_server_is_told_until_it_is_fixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "renew", lambda _, __: "not renewed")
    monkeypatch.setattr(bundled, "exposure", lambda _, __: "without TLS")
    monkeypatch.setattr(disk, "shortage", lambda _, __: "little room")
    shown: list[str] = []
    address = ServerAddress(host="127.0.0.1", port=free_port(), monitor_port=free_port())
    server = BundledServer(prepare(tmp_path), address, shown.append, os.environ)
    await server.start()
    try:
        assert server.warning == "not renewed; without TLS; little room"
        await server.adapt()
        assert shown == ["not renewed", "without TLS", "little room"]
        monkeypatch.setattr(bundled, "renew", lambda _, __: "")
        await server.adapt()
        assert server.warning == "without TLS; little room"
        monkeypatch.setattr(bundled, "renew", lambda _, __: "not renewed again")
        await server.adapt()
        assert server.warning == "not renewed again; without TLS; little room"
        assert shown[3:] == ["not renewed again"]
    finally:
        await server.stop()
