"""A Bus whose every step leaves a span: requests, replies, deliveries, appends, puts. It wraps another one only where
spans are exported, so others pay nothing.

A span names sender, receiver and operation; the content of a message is never in it. Core messages without a reply
(heartbeats, progress) leave none, nor does anything outside a trace.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from msgspec import structs

from writ_bus import tracing
from writ_bus.forwarding_bus import ForwardingBus, ForwardingJournal
from writ_bus.port import (
    Bus,
    Delivery,
    Endpoint,
    EndpointReply,
    Entry,
    Message,
    Service,
    Serving,
    Store,
    Subscription,
)
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


class TracedJournal(ForwardingJournal):
    """The Journal port: appends leave spans."""

    async def append(self, entry: Entry) -> int:
        with _sending(f"append {_kind(entry)}", entry.subject, "producer"):
            return await self._journal.append(structs.replace(entry, headers=_headers(entry.headers)))

    async def append_together(self, entries: Sequence[Entry]) -> int:
        last = entries[-1]
        with _sending(f"append {', '.join(map(_kind, entries))}", last.subject, "producer"):
            sent = [structs.replace(entry, headers=_headers(entry.headers)) for entry in entries]
            return await self._journal.append_together(sent)


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

    async def version(self, key: str) -> int:
        with _sending(f"get {self._what}", self._what):
            return await self._store.version(key)

    async def renew(self, key: str, *, ttl: float) -> None:
        with _sending(f"renew {self._what}", self._what):
            await self._store.renew(key, ttl=ttl)

    async def delete(self, key: str, *, version: int | None = None) -> None:
        with _sending(f"delete {self._what}", self._what):
            await self._store.delete(key, version=version)


class TracedBus(ForwardingBus):
    """The Bus port with spans."""

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus)
        self.journal = TracedJournal(bus.journal)
        self.params = TracedStore(bus.params, "parameters")
        self.results = TracedStore(bus.results, "results")

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        with _sending(f"ask {_family(subject)}", subject):
            return await super().request(subject, data, timeout=timeout, headers=_headers(headers))

    async def request_many(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> list[Message]:
        with _sending(f"ask all {_family(subject)}", subject):
            return await super().request_many(subject, data, timeout=timeout, headers=_headers(headers))

    async def serve(self, service: Service) -> Serving:
        endpoints = [_traced_endpoint(service.name, endpoint) for endpoint in service.endpoints]
        return await super().serve(structs.replace(service, endpoints=endpoints))

    async def pull(
        self, durable: str, stream: str, handler: Callable[[Delivery], Awaitable[None]], *, slots: int
    ) -> Subscription:
        async def handled(delivery: Delivery) -> None:
            subject = delivery.message.subject
            with tracing.span("carry out", tracing.current(), "consumer", **_facts(subject), **_where(subject)):
                await handler(delivery)

        return await super().pull(durable, stream, handled, slots=slots)


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
