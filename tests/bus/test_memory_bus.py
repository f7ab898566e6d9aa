"""The memory bus passes the suite of the real one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from writ_bus.port import Bus
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_testing.suites.bus import BusSuite


class MemoryGround:
    """The memory bus with one broker."""

    ack_wait = 2.0
    max_bytes = 2 << 20

    def __init__(self) -> None:
        self.broker = Broker(max_bytes=self.max_bytes, ack_wait=self.ack_wait)
        self.buses: list[MemoryBus] = []

    async def bus(self, name: str) -> MemoryBus:
        self.buses.append(MemoryBus(self.broker))
        return self.buses[-1]

    async def restart(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self.broker.stop()
        await meanwhile()
        self.broker.start()

    def lose_answers(self, bus: Bus, number: int) -> None:
        self.broker.disk.lost_answers = number


@pytest.fixture
async def ground() -> AsyncIterator[MemoryGround]:
    ground = MemoryGround()
    yield ground
    await asyncio.gather(*(bus.close() for bus in ground.buses))


class TestMemoryBus(BusSuite):
    """All tests of the suite, in one process."""
