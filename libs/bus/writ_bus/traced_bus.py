"""A Bus whose every step leaves a span: requests, replies, deliveries, appends, puts. It wraps another one only where
spans are exported, so others pay nothing.

A span names sender, receiver and operation; the content of a message is never in it. Core messages without a reply
(heartbeats, progress) leave none, nor does anything outside a trace.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from msgspec import structs

from writ_bus import tracing
from writ_bus.port import (
    Bus,
    Delivery,
    Endpoint,
    EndpointReply,
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
from writ_contracts.subjects import parse_event

SYSTEM = "nats"


def _sending(name: str, subject: str, kind: tracing.Kind = "client") -> AbstractContextManager[object]:
    """Open a span for the current trace; its operation is noted in the trace's first span as well."""
    if tracing.current() is None:
        return nullcontext()
    facts = _facts(subject)
    tracing.note(facts)
    return tracing.span(name, None, kind, **facts, **_where(subject))


def _facts(subject: str) -> dict[str, str]:
    event = parse_event(subject)
    return {"operation_id": event.operation_id, "principal": event.principal} if event else {}


def _where(subject: str) -> dict[str, str]:
    return {"messaging.system": SYSTEM, "messaging.destination.name": subject}


def _headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return headers which make the receiver a child of this span."""
    trace = tracing.current()
    return {**({tracing.TRACEPARENT: trace.traceparent} if trace else {}), **(headers or {})}


class TracedJournal:
    """The Journal port: appends leave spans."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def append(self, entry: Entry) -> int:
        with _sending(f"append {_kind(entry)}", entry.subject, "producer"):
            return await self._journal.append(structs.replace(entry, headers=_headers(entry.headers)))

    async def append_together(self, entries: Sequence[Entry]) -> int:
        last = entries[-1]
        with _sending(f"append {', '.join(map(_kind, entries))}", last.subject, "producer"):
            sent = [structs.replace(entry, headers=_headers(entry.headers)) for entry in entries]
            return await self._journal.append_together(sent)

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None, at_least: int = 1) -> list[Record]:
        return await self._journal.read(filter, after=after, limit=limit, at_least=at_least)

    async def last(self, filter: str) -> Record | None:
        return await self._journal.last(filter)

    def tail(self, after: int, *, live: bool = True) -> Tail:
        return self._journal.tail(after, live=live)

    async def usage(self) -> Usage:
        return await self._journal.usage()


def _kind(entry: Entry) -> str:
    event = parse_event(entry.subject)
    return event.event if event else entry.subject.split(".")[2]


class TracedStore:
    """The Store port: each access leaves a span, without its key's value."""

    def __init__(self, store: Store, what: str) -> None:
        self._store, self._what = store, what

    async def put(self, key: str, data: bytes, *, ttl: float, only_new: bool = False) -> int:
        with _sending(f"put {self._what}", self._what):
            return await self._store.put(key, data, ttl=ttl, only_new=only_new)

    async def get(self, key: str) -> bytes | None:
        with _sending(f"get {self._what}", self._what):
            return await self._store.get(key)

    async def renew(self, key: str, *, ttl: float) -> None:
        with _sending(f"renew {self._what}", self._what):
            await self._store.renew(key, ttl=ttl)

    async def delete(self, key: str, *, version: int | None = None) -> None:
        with _sending(f"delete {self._what}", self._what):
            await self._store.delete(key, version=version)


class TracedBus:
    """The Bus port with spans."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.journal: Journal = TracedJournal(bus.journal)
        self.policies: EventStore = bus.policies
        self.scans: EventStore = bus.scans
        self.params: Store = TracedStore(bus.params, "parameters")
        self.results: Store = TracedStore(bus.results, "results")

    @property
    def connected(self) -> bool:
        return self._bus.connected

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
        with _sending(f"ask {_family(subject)}", subject):
            return await self._bus.request(subject, data, timeout=timeout, headers=_headers(headers))

    async def request_many(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> list[Message]:
        with _sending(f"ask all {_family(subject)}", subject):
            return await self._bus.request_many(subject, data, timeout=timeout, headers=_headers(headers))

    async def subscribe(
        self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 64
    ) -> Subscription:
        return await self._bus.subscribe(subject, handler, queue=queue, concurrency=concurrency)

    async def serve(self, service: Service) -> Serving:
        endpoints = [_traced_endpoint(service.name, endpoint) for endpoint in service.endpoints]
        return await self._bus.serve(structs.replace(service, endpoints=endpoints))

    async def pull(
        self, durable: str, stream: str, handler: Callable[[Delivery], Awaitable[None]], *, slots: int
    ) -> Subscription:
        async def handled(delivery: Delivery) -> None:
            subject = delivery.message.subject
            with tracing.span("carry out", tracing.current(), "consumer", **_facts(subject), **_where(subject)):
                await handler(delivery)

        return await self._bus.pull(durable, stream, handled, slots=slots)

    async def drain(self, grace: float) -> None:
        await self._bus.drain(grace)

    async def close(self) -> None:
        await self._bus.close()


def traced(bus: Bus) -> Bus:
    """Return the bus itself, or a traced one where spans are exported."""
    return TracedBus(bus) if tracing.exporting() else bus


def _traced_endpoint(service: str, endpoint: Endpoint) -> Endpoint:
    async def handler(message: Message) -> bytes | EndpointReply:
        with tracing.span(f"{service} {endpoint.name}", tracing.current(), "server", **_where(message.subject)):
            return await endpoint.handler(message)

    return structs.replace(endpoint, handler=handler)


def _family(subject: str) -> str:
    """Return the common name of many subjects: principal and operation are facts of the span, not its name."""
    return subject.split(".")[1] if "." in subject else subject
