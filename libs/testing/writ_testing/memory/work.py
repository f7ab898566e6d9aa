"""Pulled work within one process."""

import asyncio
from collections.abc import Awaitable, Callable

from writ_bus import tracing
from writ_bus.port import Delivery, Message
from writ_bus.workers import Workers
from writ_testing.memory.broker import Broker, MemorySubscribed
from writ_testing.memory.journal import MemoryConsumer


class MemoryDelivery:
    """A Delivery within one process."""

    def __init__(self, consumer: MemoryConsumer, message: Message, sequence: int, attempt: int) -> None:
        self._consumer = consumer
        self.message = message
        self.sequence = sequence
        self.attempt = attempt

    async def ack(self) -> None:
        self._consumer.ack(self.sequence)

    async def nak(self, delay: float = 0.0) -> None:
        self._consumer.again(self.sequence, asyncio.get_running_loop().time() + delay)

    async def working(self) -> None:
        self._consumer.again(self.sequence, asyncio.get_running_loop().time() + self._consumer.ack_wait)


class MemoryPull(MemorySubscribed):
    """The Subscription of a pull."""

    def __init__(
        self, broker: Broker, consumer: MemoryConsumer, handler: Callable[[Delivery], Awaitable[None]], slots: int
    ) -> None:
        self._changed = broker.disk.watch()
        self._crew = Workers(slots, 0, on_free=self._changed.set)
        super().__init__(broker, [self._crew])
        self._consumer = consumer
        self._handler = handler
        self._slots = slots
        self._puller = asyncio.create_task(self._pull())

    async def _pull(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            online = self._broker.disk.online.is_set()
            while online and self._crew.running < self._slots and (taken := self._consumer.take(loop.time())):
                record, attempt = taken
                message = Message(record.subject, record.data, record.headers)
                self._start(MemoryDelivery(self._consumer, message, record.sequence, attempt))
            due = self._consumer.next_due()
            try:
                async with asyncio.timeout_at(due if due and self._crew.running < self._slots else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _start(self, delivery: MemoryDelivery) -> None:
        self._crew.submit(lambda: self._handle(delivery))

    async def _handle(self, delivery: MemoryDelivery) -> None:
        tracing.enter(delivery.message.headers)
        try:
            await self._handler(delivery)
        except Exception:
            await delivery.nak(1.0)
            raise

    async def close(self) -> None:
        await self._stop()
        await super().close()

    async def abort(self) -> None:
        await self._stop()
        await super().abort()

    async def _stop(self) -> None:
        self._puller.cancel()
        await asyncio.gather(self._puller, return_exceptions=True)
        self._broker.disk.unwatch(self._changed)
