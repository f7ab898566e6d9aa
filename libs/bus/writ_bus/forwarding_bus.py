"""A Bus that hands each call on to another one. Subclasses replace what they change."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from writ_bus.port import (
    Bus,
    Delivery,
    Entry,
    EventStore,
    Handler,
    Journal,
    Message,
    Service,
    Serving,
    Store,
    Subscription,
    Tail,
    Usage,
)
from writ_contracts.history.records import Record


class ForwardingJournal:
    """The Journal port over another journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def append(self, entry: Entry) -> int:
        return await self._journal.append(entry)

    async def append_together(self, entries: Sequence[Entry]) -> int:
        return await self._journal.append_together(entries)

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None, at_least: int = 1) -> list[Record]:
        return await self._journal.read(filter, after=after, limit=limit, at_least=at_least)

    async def last(self, filter: str) -> Record | None:
        return await self._journal.last(filter)

    def tail(self, after: int, *, live: bool = True) -> Tail:
        return self._journal.tail(after, live=live)

    async def usage(self) -> Usage:
        return await self._journal.usage()


class ForwardingBus:
    """The Bus port over another bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.journal: Journal = bus.journal
        self.policies: EventStore = bus.policies
        self.scans: EventStore = bus.scans
        self.params: Store = bus.params
        self.results: Store = bus.results

    @property
    def connected(self) -> bool:
        return self._bus.connected

    @property
    def server(self) -> str:
        return self._bus.server

    async def wait_closed(self) -> None:
        await self._bus.wait_closed()

    async def server_time(self, *, timeout: float) -> float:
        return await self._bus.server_time(timeout=timeout)

    async def ping(self, timeout: float) -> None:
        await self._bus.ping(timeout)

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        await self._bus.publish(subject, data, headers)

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        return await self._bus.request(subject, data, timeout=timeout, headers=headers)

    async def request_many(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> list[Message]:
        return await self._bus.request_many(subject, data, timeout=timeout, headers=headers)

    async def subscribe(
        self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 64
    ) -> Subscription:
        return await self._bus.subscribe(subject, handler, queue=queue, concurrency=concurrency)

    async def serve(self, service: Service) -> Serving:
        return await self._bus.serve(service)

    async def pull(
        self, durable: str, stream: str, handler: Callable[[Delivery], Awaitable[None]], *, slots: int
    ) -> Subscription:
        return await self._bus.pull(durable, stream, handler, slots=slots)

    async def drain(self, grace: float) -> None:
        await self._bus.drain(grace)

    async def close(self) -> None:
        await self._bus.close()
