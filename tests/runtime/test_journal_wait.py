"""A service that starts before its journal waits for it, and says so."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from writ_bus.errors import BusRefused
from writ_runtime import connect
from writ_runtime.connect import await_journal
from writ_runtime.logs import Log
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import WritServer

LOG = Log("writ.policy")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WritServer]:
    """A server without streams."""
    server = WritServer(tmp_path, ["alice"], ["a"])
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("role", ["executor", "policy", "audit"])
async def test_a_service_waits_until_the_streams_are_made_and_logs_it_once(
    server: WritServer, caplog: pytest.LogCaptureFixture, role: str
) -> None:
    bus = await server.bus(role)
    waiting = asyncio.create_task(await_journal(bus, LOG))

    async def is_logged() -> bool:
        return "service.waits" in caplog.messages

    await eventually(is_logged)
    done, _ = await asyncio.wait({waiting}, timeout=0.5)
    assert not done
    await server.provision()
    await waiting
    assert caplog.messages.count("service.waits") == 1
    await await_journal(bus, LOG)


async def test_the_wait_for_the_journal_ends(server: WritServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "JOURNAL_WITHIN", 0.3)
    with pytest.raises(BusRefused, match="stream not found"):
        await await_journal(await server.bus("policy"), LOG)
