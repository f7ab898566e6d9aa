"""A NATS server of somebody else's, whose operator has left out a part of its configuration."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from writ_contracts.errors import Unreachable
from writ_installation.files.home import Home
from writ_installation.nats.external_server import ExternalServer, external_configuration
from writ_installation.processes.child import tie
from writ_installation.server_access.server_address import ServerAddress
from writ_nats_server.process import ServerProcess
from writ_testing.eventually import eventually
from writ_testing.installations.installation import prepare
from writ_testing.peers.nats_server import free_port


@asynccontextmanager
async def external_server(
    home: Home, folder: Path, jetstream: Mapping[str, Any], *, accounts: bool = True
) -> AsyncIterator[ExternalServer]:
    """Yield an installation's view of a server with this block `jetstream`, with or without Writ's file."""
    port, monitor_port = free_port(), free_port()
    config, address = folder / "own.conf", ServerAddress(host="127.0.0.1", port=4222, monitor_port=8222)
    (folder / "writ-nats.conf").write_text(external_configuration(home, address))
    settings = {"server_name": "own", "host": "127.0.0.1", "port": port, "http": f"127.0.0.1:{monitor_port}"}
    lines = [f"{key}: {json.dumps(value)}" for key, value in {**settings, "jetstream": jetstream}.items()]
    config.write_text("\n".join([*(["include writ-nats.conf"] if accounts else []), *lines]))
    process = await ServerProcess.start(config, folder / "own.log", port=port, monitor_port=monitor_port, through=tie())
    try:
        yield ExternalServer(home, f"nats://127.0.0.1:{port}", print, {})
    finally:
        await process.stop()


async def test_server_that_acknowledges_events_before_a_sync_is_named_and_still_used(tmp_path: Path) -> None:
    home = prepare(tmp_path)
    async with external_server(home, tmp_path, {"store_dir": str(tmp_path / "store")}) as server:

        async def is_adapted() -> bool:
            try:
                return await server.adapt()
            except Unreachable:  # a busy machine: no server replied within a second
                return False

        await eventually(is_adapted, within=60, what="a change of principals, which does not wait for the next step")
        assert server.warning == (
            "a power cut of these NATS servers loses acknowledged events: own; set `sync_interval: always` there"
        )


async def test_server_without_accounts_ends_the_start_with_the_next_step(tmp_path: Path) -> None:
    home = prepare(tmp_path)
    store = {"store_dir": str(tmp_path / "store"), "sync_interval": "always"}
    async with external_server(home, tmp_path, store, accounts=False) as server:

        async def is_refused() -> str:
            try:
                await server.start()  # shows nothing where the server does not reply within a second
            except Unreachable as error:
                return str(error)
            return ""

        reason = await eventually(is_refused, within=60, what="a refusal")
        assert reason.startswith("this NATS server has none of Writ's accounts: ")
        assert "`writ up --write-server-config FILE`" in reason
