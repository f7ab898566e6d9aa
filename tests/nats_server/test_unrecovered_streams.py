"""A crash of nats-server within a change of a stream leaves a checksum that differs from the stream's metadata.

The server does not recover the stream then. Nobody creates another journal in its place, and the documented repair
brings it back as it was.
"""

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from writ_bus.errors import BusRefused
from writ_bus.nats.bus import connect
from writ_bus.nats.jetstream import call
from writ_bus.port import Bus, Entry, Message
from writ_contracts import subjects
from writ_installation.files.home import Home
from writ_installation.nats.server import configuration, make_streams
from writ_installation.processes.child import tie
from writ_installation.server_access.server_address import ServerAddress
from writ_installation.server_access.server_options import options_of
from writ_nats_server import process as server_process
from writ_nats_server import system_account
from writ_nats_server.process import ServerProcess, find_binary
from writ_nats_server.system_account import NOT_RECOVERED, REPAIR, require_recovered
from writ_testing.installations.installation import prepare
from writ_testing.peers.nats_server import WritServer, free_port, writ_server

DIFFERS = re.compile(r'Stream metafile "(\S+)/meta.inf": checksums do not match "\w+" vs "(\w{16})"')
LINE = "writ.journal.security.one"


class CrashedServer:
    """A server that was killed after it had changed the journal's metadata, and before the checksum of it."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.address = ServerAddress(host="127.0.0.1", port=free_port(), monitor_port=free_port())
        self.log = home.log / "nats.log"
        home.log.mkdir(parents=True, exist_ok=True)
        home.server_config.write_text(configuration(home, self.address))

    async def start(self) -> ServerProcess:
        port, monitor = self.address.port, self.address.monitor_port
        return await ServerProcess.start(
            self.home.server_config, self.log, port=port, monitor_port=monitor, through=tie()
        )

    async def journal(self) -> dict[str, Any]:
        """Return what the server reports of the journal. Raises BusRefused without one."""
        bus = await connect(options_of(self.home, "bootstrap", self.address.url, None))
        try:
            return await call(bus.replies, f"STREAM.INFO.{subjects.JOURNAL_STREAM}", {})
        finally:
            await bus.close()

    async def crash(self) -> dict[str, Any]:
        """Store an event, kill the server, and return the journal that it had."""
        process = await self.start()
        try:
            await make_streams(self.home, self.address.url, ["a"], None)
            bus = await connect(options_of(self.home, "executor", self.address.url, None))
            await bus.journal.append(Entry(subject=LINE, data=b"{}", event_id="one", filter=LINE, expected=0))
            await bus.close()
            before = await self.journal()
        finally:
            await process.kill()
        metadata = next(self.home.store.rglob(f"{subjects.JOURNAL_STREAM}/meta.inf"))
        text = metadata.read_text()
        metadata.write_text(text.replace('"max_msgs":-1', '"max_msgs":-1 '))
        assert metadata.read_text() != text
        return before


@pytest.fixture
async def crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[CrashedServer, dict[str, Any]]:
    monkeypatch.setattr(system_account, "CREATED_WITHIN", 0.1)
    server = CrashedServer(prepare(tmp_path))
    return server, await server.crash()


async def test_journal_is_as_before_after_the_repair_that_the_refusal_names(
    crashed: tuple[CrashedServer, dict[str, Any]],
) -> None:
    server, before = crashed
    with pytest.raises(BusRefused, match=f"{subjects.JOURNAL_STREAM}.* could not be recovered") as refused:
        await server.start()
    assert REPAIR in str(refused.value)
    found = DIFFERS.search(str(refused.value))
    assert found is not None, refused.value
    folder, checksum = found.groups()
    (Path(folder) / "meta.sum").write_text(checksum)
    process = await server.start()
    try:
        await make_streams(server.home, server.address.url, ["a"], None)
        after = await server.journal()
    finally:
        await process.stop()
    assert (after["created"], after["config"], after["state"]) == (
        before["created"],
        before["config"],
        before["state"],
    )


async def test_no_journal_is_created_where_the_server_did_not_recover_it(
    crashed: tuple[CrashedServer, dict[str, Any]],
) -> None:
    server, _ = crashed
    arguments = [*tie(), str(find_binary()), "-c", str(server.home.server_config)]
    with server.log.open("ab") as log:  # as systemd and others start it, without a look at its health
        process = await asyncio.create_subprocess_exec(*arguments, stdout=log, stderr=log)
    try:
        with pytest.raises(BusRefused, match=f"{subjects.JOURNAL_STREAM}.* could not be recovered"):
            await make_streams(server.home, server.address.url, ["a"], None)
        with pytest.raises(BusRefused, match="stream not found"):
            await server.journal()
    finally:
        process.terminate()
        await process.wait()


def begun(server: WritServer) -> Path:
    """Return the folder of a stream whose creation has begun, and which the server therefore does not have yet."""
    folder = Path(server.plan.store_dir) / "jetstream" / "CORE" / "streams" / "BEGUN"
    folder.mkdir(parents=True)
    return folder


async def test_stream_under_creation_is_no_unrecovered_one(tmp_path: Path) -> None:
    async with writ_server(tmp_path, pools=()) as server:
        system, folder, reports = await server.bus("system"), begun(server), list[bool]()

        async def request(*arguments: Any, **more: Any) -> Message:
            reply = await system.request(*arguments, **more)
            reports.append(NOT_RECOVERED.encode() in reply.data)
            if folder.exists():
                folder.rmdir()
            return reply

        await require_recovered(cast(Bus, SimpleNamespace(request=request)))
        assert reports == [True, False]


async def test_server_starts_while_a_client_creates_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with writ_server(tmp_path, pools=()) as server:
        await server.process.stop()
        folder, get, reports = begun(server), server_process._get, list[bool]()

        async def read(port: int, path: str) -> dict[str, Any]:
            reply = await get(port, path)
            if NOT_RECOVERED in str(reply):
                reports.append(True)
                folder.rmdir()
            return reply

        monkeypatch.setattr(server_process, "_get", read)
        await server.start()
        assert reports == [True]
