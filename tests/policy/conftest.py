"""A running policy service over a bus within this process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.policy.replica import Asking, files, replica

from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    """Yield a client of the service."""
    broker = Broker()
    async with replica(MemoryBus(broker), MemoryBus(broker), files(tmp_path)) as one:
        yield one
