"""The Bus port within one process: as strict as NATS where it matters, and with nothing to start.

Every MemoryBus of one Broker reaches the others. Requests, queue groups, discovery, the journal's lock, pull and ack
behave as over NATS, which BusSuite shows; permissions do not exist here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from writ_bus import tracing
from writ_bus.backoff import backoff
from writ_bus.errors import BusRefused, TimedOut, Unreachable
from writ_bus.grammar import check_subject
from writ_bus.lanes import TIMEOUT
from writ_bus.nats import services
from writ_bus.port import Delivery, EventStore, Handler, Message, Service
from writ_bus.workers import BACKLOG, Workers
from writ_contracts import subjects
from writ_testing.memory.broker import Broker, MemoryServing, MemorySubscribed
from writ_testing.memory.journal import MemoryJournal, MemoryStore
from writ_testing.memory.work import MemoryPull

NO_RESPONDERS_PATIENCE = 10.0
S = TypeVar("S", bound=MemorySubscribed)


class MemoryBus:
    """A Bus within one process. Give several the same broker to connect them."""

    def __init__(self, broker: Broker | None = None) -> None:
        self.broker = broker or Broker()
        self._open: list[MemorySubscribed] = []
        self._closed = asyncio.Event()
        disk = self.broker.disk
        self.journal = MemoryJournal(disk)
        self.policies: EventStore = MemoryJournal(self.broker.policies)
        self.scans: EventStore = MemoryJournal(self.broker.scans)
        self.params = MemoryStore(disk, subjects.PARAMS.removesuffix(".>"))
        self.results = MemoryStore(disk, subjects.RESULTS.removesuffix(".>"))

    @property
    def connected(self) -> bool:
        return self.broker.disk.online.is_set()

    @property
    def server(self) -> str:
        return f"start-{self.broker.starts}"

    async def wait_closed(self) -> None:
        await self._closed.wait()

    async def server_time(self, *, timeout: float) -> float:
        await self.broker.disk.until_online(timeout)
        return self.broker.disk.clock()

    async def ping(self, timeout: float) -> None:
        await self.broker.disk.until_online(timeout)

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.broker.deliver(Message(check_subject(subject), data, tracing.outgoing(headers)))

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[Message] = loop.create_future()
        deadline = loop.time() + timeout
        subscribed = MemorySubscribed(self.broker, [])
        reply = self.broker.inbox()
        subscribed.listen(reply, "", lambda message: _settle(arrived, message))
        sent = {**tracing.outgoing(headers), TIMEOUT: f"{timeout:.3f}"}
        message = Message(check_subject(subject), data, sent, reply)
        try:
            await self._find_somebody(message, min(timeout, NO_RESPONDERS_PATIENCE))
            async with asyncio.timeout_at(deadline):
                return _unless_failed(await arrived)
        except TimeoutError:
            raise TimedOut(f"no answer from {subject} in {timeout:g} s") from None
        finally:
            await subscribed.close()

    async def _find_somebody(self, message: Message, patience: float) -> None:
        give_up = asyncio.get_running_loop().time() + patience
        for pause in backoff():
            if self.connected and self.broker.deliver(message):
                return
            if asyncio.get_running_loop().time() + pause >= give_up:
                raise Unreachable(f"nobody listens on {message.subject}")
            await asyncio.sleep(pause)

    async def request_many(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> list[Message]:
        answers: list[Message] = []
        subscribed = MemorySubscribed(self.broker, [])
        reply = self.broker.inbox()
        subscribed.listen(reply, "", answers.append)
        self.broker.deliver(Message(check_subject(subject), data, tracing.outgoing(headers), reply))
        await asyncio.sleep(timeout)
        await subscribed.close()
        return answers

    async def subscribe(
        self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 64
    ) -> MemorySubscribed:
        workers = Workers(concurrency, concurrency * BACKLOG)

        async def handle(message: Message) -> None:
            tracing.enter(message.headers)
            await handler(message)

        def receive(message: Message) -> None:
            workers.submit(lambda: handle(message))

        subscribed = MemorySubscribed(self.broker, [workers])
        subscribed.listen(subject, queue, receive)
        return self._keep(subscribed)

    async def serve(self, service: Service) -> MemoryServing:
        return self._keep(MemoryServing(self.broker, service))

    async def pull(
        self, durable: str, stream: str, handler: Callable[[Delivery], Awaitable[None]], *, slots: int
    ) -> MemoryPull:
        if stream != subjects.JOURNAL_STREAM:
            raise BusRefused(f"no stream {stream} here")
        return self._keep(MemoryPull(self.broker, self.broker.disk.consumer(durable), handler, slots))

    def _keep(self, subscribed: S) -> S:
        self._open.append(subscribed)
        return subscribed

    async def drain(self, grace: float) -> None:
        try:
            async with asyncio.timeout(grace):
                await asyncio.gather(*(one.close() for one in self._open))
        except TimeoutError:
            await self.close()
        self._open.clear()
        self._closed.set()

    async def close(self) -> None:
        self._closed.set()
        await asyncio.gather(*(one.abort() for one in self._open))
        self._open.clear()


def _settle(future: asyncio.Future[Message], message: Message) -> None:
    if not future.done():
        future.set_result(message)


def _unless_failed(message: Message) -> Message:
    if (refused := services.refusal(message.headers)) is not None:
        raise refused
    return message
