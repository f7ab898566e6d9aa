"""The ports of the message bus. NatsBus keeps these promises with NATS, MemoryBus within one process.

Every handler runs in its own task, within the trace of its message (see `tracing`). Sequences are those of the journal
and start at 1. Times are Unix seconds, durations seconds. Errors are those of `errors`, and no others.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from writ_contracts.history.records import Record


class Message(Struct, frozen=True):
    """A received message. `reply` is the reply subject, if a reply is expected."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    reply: str = ""


class EndpointReply(Struct, frozen=True):
    """An endpoint's reply with headers of its own (Content-Type, say)."""

    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Entry(Struct, frozen=True, kw_only=True):
    """One event to append. It is stored only if the last sequence under `filter` is `expected` (0: none yet).

    `filter` must be spelled the same by every writer: on a replicated stream two spellings let two writers win.
    `event_id` is unique; by it the writer recognises its own event after a lost reply.
    """

    subject: str
    data: bytes
    event_id: str
    filter: str
    expected: int
    headers: Mapping[str, str] = field(default_factory=dict)


class Usage(Struct, frozen=True):
    """The usage of the journal. Events before `first_sequence` are in archives."""

    bytes: int
    max_bytes: int
    last_sequence: int
    messages: int
    first_sequence: int = 1
    created: str = ""
    """The server's creation time of the stream, as text: a stream that was created again has another."""
    copies: int = 1
    """On how many servers of a cluster it is stored."""


Handler = Callable[[Message], Awaitable[None]]
Responder = Callable[[Message], Awaitable[bytes | EndpointReply]]


class Delivery(Protocol):
    """One message of a durable consumer. Neither acked nor nak'ed, it comes again after the ack wait.

    NATS's ack wait is two seconds, and the worker restarts it for ten seconds, also if the handler returns before.
    """

    @property
    def message(self) -> Message:
        """The event; its subject is the one in the journal."""

    @property
    def sequence(self) -> int:
        """Its sequence in the journal."""

    @property
    def attempt(self) -> int:
        """1 the first time, then 2, 3, …"""

    async def ack(self) -> None:
        """Mark it as done. Raises Unreachable; where the ack gets lost, the message is delivered again."""

    async def nak(self, delay: float = 0.0) -> None:
        """Request another delivery, to any worker, after `delay` seconds."""

    async def working(self) -> None:
        """Restart the ack wait, and the time for which the worker does so."""


class Endpoint(Struct, frozen=True, kw_only=True):
    """One subject served by a service. At most `concurrency` handlers run at once; 64 times as many may wait.

    The first wildcard of the subject names the sender of a message: senders take turns (writ_bus.workers).
    """

    name: str
    subject: str
    handler: Responder
    queue: str = ""
    """Replicas with the same queue share the requests; empty means `q-<service>`."""
    concurrency: int = 64
    urgent: Collection[str] = ()
    """Last tokens of subjects whose messages have slots and a line of their own."""


class Service(Struct, frozen=True, kw_only=True):
    """A micro service, discovered by clients with (NATS ADR-32): `$SRV.PING`, `$SRV.INFO`, `$SRV.STATS`."""

    name: str
    version: str
    description: str
    endpoints: Sequence[Endpoint]
    metadata: Mapping[str, str] = field(default_factory=dict)


class Subscription(Protocol):
    async def close(self) -> None:
        """Take no new messages; return when those taken have been handled."""


class Serving(Subscription, Protocol):
    """A service which handles requests."""

    @property
    def refused_replies(self) -> int:
        """Requests dropped since their reply subject was not an inbox (an attack: see docs of the server config)."""

    @property
    def failures(self) -> int:
        """The number of handlers which raised: defects. The requester got `internal error` and no detail."""


class Tail(Protocol):
    """The journal from some sequence on, for `async for`. Ends only when the bus is closed: use
    `contextlib.aclosing`.
    """

    def __aiter__(self) -> "Tail": ...

    async def __anext__(self) -> Record:
        """Return the next event, as soon as there is one."""

    async def aclose(self) -> None: ...


class EventStore(Protocol):
    async def append(self, entry: Entry) -> int:
        """Store the event; return its sequence. Raises Conflict, Full, Unreachable, Forbidden, or TimedOut (even the
        recovery read got no reply). A lost reply is recovered by reading.
        """

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None, at_least: int = 1) -> list[Record]:
        """Return the events under `filter` with a sequence above `after`, in order, the first `limit` of them.

        `at_least`: how many of them there are, as far as the caller knows. If it is right, a long journal needs fewer
        requests. If there are fewer, the same events are returned after a search to the end of the journal.
        """

    async def last(self, filter: str) -> Record | None:
        """Return the latest event under `filter`."""


class Journal(EventStore, Protocol):
    """The one system of record. Nothing in it is ever changed or removed."""

    async def append_together(self, entries: Sequence[Entry]) -> int:
        """Store all or none; return the last one's sequence. Raises as `append` does."""

    def tail(self, after: int, *, live: bool = True) -> Tail:
        """Return every event after a sequence, in order, none missing, none twice. It waits for new ones, through
        reconnects, without a limit. A second event of a sequence differs from the first: one of them is made up.

        `live`: whether events may come as they are republished, where another key of the account can make one up.
        Without it all are read from the stream, one request later.
        """

    async def usage(self) -> Usage: ...


class Store(Protocol):
    """Bytes by key, for a limited time. A key is one or more subject tokens."""

    async def put(self, key: str, data: bytes, *, ttl: float, only_new: bool = False) -> int:
        """Store it for `ttl` seconds (rounded up to whole ones), replacing an earlier value. Durable on return.

        Return its version, a number that no other value of the store gets. With `only_new`, raises Conflict if there
        is a value.
        """

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none or it has expired."""

    async def version(self, key: str) -> int:
        """Return the version of the value, or 0 if there is none, as the stream's leader has it."""

    async def renew(self, key: str, *, ttl: float) -> None:
        """Keep the present value for `ttl` seconds from now. A value that is deleted or replaced meanwhile stays so."""

    async def delete(self, key: str, *, version: int | None = None) -> None:
        """Delete the value now, or once the server answers again. With a `version` a later value is kept."""


class Bus(Protocol):
    @property
    def journal(self) -> Journal: ...

    @property
    def policies(self) -> EventStore:
        """The versions of the policy: a version's number is its sequence."""

    @property
    def scans(self) -> EventStore:
        """The last report of each scanner on each target."""

    @property
    def params(self) -> Store:
        """Parameters kept out of the journal, by operation id."""

    @property
    def results(self) -> Store:
        """Full outputs, by principal and operation id."""

    @property
    def connected(self) -> bool:
        """Return whether the server is there right now. The bus reconnects by itself, without a limit."""

    @property
    def server(self) -> str:
        """Return the id of the server of the present or last connection. A restart gives it another one."""

    async def wait_closed(self) -> None:
        """Wait until the connection is closed for good: by this process, or after an error of the server on which the
        client does not reconnect. The process must end then, since it receives nothing more.
        """

    async def server_time(self, *, timeout: float) -> float:
        """Return the clock of the journal's server (Unix seconds), at some instant between call and return. Raises
        Unreachable, TimedOut, BusRefused, or Forbidden where the server's configuration is of an earlier release.
        """

    async def ping(self, timeout: float) -> None:
        """Wait for a reply of the NATS server itself. Raises Unreachable (not connected), TimedOut."""

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send to all subscribers, at most once. Raises Unreachable when not connected; a Forbidden comes later, and to
        `on_violation` only.
        """

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        """Send a request, and return the reply. Raises Unreachable (nobody there, after trying for the lesser of
        timeout and 10 s), TimedOut, Forbidden (at once), Full (the service is overloaded), BusRefused (it failed).
        """

    async def request_many(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> list[Message]:
        """Send a request to all listeners; return all replies within `timeout` (for discovery). An empty list without a
        listener. Raises Forbidden, Unreachable, and TimedOut if the connection was lost meanwhile.
        """

    async def subscribe(
        self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 64
    ) -> Subscription:
        """Call the handler for each message from now on. With concurrency 1, in order. Raises Forbidden."""

    async def serve(self, service: Service) -> Serving:
        """Serve requests, and be discoverable. A request whose reply subject is not an inbox is dropped and counted."""

    async def pull(
        self, durable: str, stream: str, handler: Callable[[Delivery], Awaitable[None]], *, slots: int
    ) -> Subscription:
        """Process the messages of a durable consumer, never taking more than there are free slots; a slot is free again
        when its handler returns. Survives reconnects and a missing consumer.
        """

    async def drain(self, grace: float) -> None:
        """Stop listening, let handlers finish within `grace` seconds, flush, close."""

    async def close(self) -> None: ...
