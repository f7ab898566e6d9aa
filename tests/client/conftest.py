"""A client, and the scripted services that it calls, over a bus in memory."""

from collections.abc import AsyncIterator

import pytest
from tests.client.scripted_api import ScriptedApi

from writ_client.client import Writ
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed

KEY = Key(generate_seed())


@pytest.fixture
async def executor() -> AsyncIterator[ScriptedApi]:
    bus = MemoryBus()
    scripted = ScriptedApi(bus)
    await scripted.serve()
    yield scripted
    await bus.drain(1.0)


@pytest.fixture
async def writ(executor: ScriptedApi) -> AsyncIterator[Writ]:
    async with Writ(MemoryBus(executor.bus.broker), KEY, "alice", clock=lambda: 1000.0) as client:  # type: ignore[attr-defined]
        yield client
