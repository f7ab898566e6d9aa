"""A real NATS server with scripted services, and a command connected to it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result
from tests.cli.commands import Command
from tests.client.scripted_api import ScriptedApi

from writ_cli.main import cli
from writ_testing.peers.nats_server import WritServer, writ_server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WritServer]:
    """Yield a server for all tests of a file. No scripted service stores anything on it."""
    folder = tmp_path_factory.mktemp("server")
    async with writ_server(folder, principals=("alice",), pools=("a",)) as running:
        yield running


@pytest.fixture
async def served(server: WritServer) -> AsyncIterator[ScriptedApi]:
    """Serve all queries, also audit's part in its account, until the test ends."""
    async with server.connected("executor") as bus, server.connected("audit") as audit:
        scripted = ScriptedApi(bus)
        await scripted.serve(audit=audit)
        yield scripted


@pytest.fixture
def environ(server: WritServer, tmp_path: Path) -> dict[str, str]:
    key_file = tmp_path / "alice.seed"
    key_file.write_bytes(server.keys["alice"].seed)
    key_file.chmod(0o600)
    return {
        "NATS_URL": server.url,
        "WRIT_KEY_FILE": str(key_file),
        "WRIT_PRINCIPAL": "alice",
        "WRIT_HOME": str(tmp_path / "none"),
    }


@pytest.fixture
def command(served: ScriptedApi, environ: dict[str, str]) -> Command:
    async def call(*words: str, **changed: str) -> Result:
        runner = CliRunner(env={**environ, **changed})
        return await asyncio.to_thread(runner.invoke, cli, words)

    return call
