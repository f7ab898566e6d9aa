"""An agent counts as online from its first heartbeat, so it sends that once it takes work."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.agent.conftest import POOL, World

from writ_bus.port import Bus, Delivery
from writ_contracts import subjects
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_testing.memory.work import MemoryPull


class SlowBus(MemoryBus):
    """A bus on which an agent waits for its subscription to work."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.pulling, self.may_pull = asyncio.Event(), asyncio.Event()

    async def pull(
        self, durable: str, stream: str, handler: Callable[[Delivery], Awaitable[None]], *, slots: int
    ) -> MemoryPull:
        self.pulling.set()
        await self.may_pull.wait()
        return await super().pull(durable, stream, handler, slots=slots)


async def test_agent_sends_no_heartbeat_before_it_takes_work(world: World) -> None:
    bus, heard = SlowBus(world.broker), asyncio.Event()

    async def beat(_: object) -> None:
        heard.set()

    opened: list[Bus] = [bus]
    world.bus = opened.pop  # type: ignore[method-assign]
    listener = MemoryBus(world.broker)
    await listener.subscribe(subjects.heartbeat(POOL), beat)
    starting = asyncio.create_task(world.agent())
    await bus.pulling.wait()
    for _ in range(100):  # turns of the event loop, in which a task that was started sends
        await asyncio.sleep(0)
    assert not heard.is_set()
    bus.may_pull.set()
    await starting
    async with asyncio.timeout(30):
        await heard.wait()
    await listener.close()
