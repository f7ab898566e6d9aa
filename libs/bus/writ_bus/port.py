"""What the installation asks of a message bus. NatsBus keeps these promises with NATS, MemoryBus within one process.

Every handler runs in its own task, within the trace of its message (see `tracing`). Sequences are those of the journal
and start at 1. Times are Unix seconds, durations seconds. Errors are those of `errors`, and no others.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct, field

from writ_contracts.records import Record


class Message(Struct, frozen=True):
    """One message as it came in. `reply` is where an answer goes, if one is wanted."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    reply: str = ""


class EndpointReply(Struct, frozen=True):
    """What an endpoint answers when it has headers of its own to send (Content-Type, say)."""

    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Entry(Struct, frozen=True, kw_only=True):
    """One event to append. It is stored only if the last sequence under `filter` is `expected` (0: none yet).

    `filter` must be spelled the same by every writer: on a replicated stream two spellings let two writers win.
    `event_id` is unique; by it the writer recognises its own event after an answer got lost.
    """

    subject: str
    data: bytes
    event_id: str
    filter: str
    expected: int
    headers: Mapping[str, str] = field(default_factory=dict)


class Usage(Struct, frozen=True):
    """How full the journal is. What was before `first_sequence` is in archives."""

    bytes: int
    max_bytes: int
    last_sequence: int
    messages: int
    first_sequence: int = 1
    created: str = ""
    """When the server made the stream, in its own words: a stream that was made anew has another."""


Handler = Callable[[Message], Awaitable[None]]
Responder = Callable[[Message], Awaitable[bytes | EndpointReply]]


class Delivery(Protocol):
    """One piece of work from a durable consumer. Neither acked nor nak'ed, it comes again after the ack wait."""

    @property
    def message(self) -> Message:
        """The event; its subject is that of the journal."""

    @property
    def sequence(self) -> int:
        """Its sequence in the journal."""

    @property
    def attempt(self) -> int:
        """1 the first time, then 2, 3, …"""

    async def ack(self) -> None:
        """Done, never deliver it again. Raises Unreachable; where it gets lost on the way, it is delivered again."""

    async def nak(self, delay: float = 0.0) -> None:
        """Deliver it again, to anybody, after `delay` seconds."""

    async def working(self) -> None:
        """Still at it: start the ack wait anew."""


class Endpoint(Struct, frozen=True, kw_only=True):
    """One subject that a service answers. At most `concurrency` handlers run at once; 64 times as many may wait.

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
    metadata: Mapping[str, str] = field(default_factory=dict)


class Service(Struct, frozen=True, kw_only=True):
    """A micro service that anybody can discover (NATS ADR-32): `$SRV.PING`, `$SRV.INFO`, `$SRV.STATS`."""

    name: str
    version: str
    description: str
    endpoints: Sequence[Endpoint]
    metadata: Mapping[str, str] = field(default_factory=dict)


class Subscription(Protocol):
    """Something that listens, until it is closed."""

    async def close(self) -> None:
        """Take no new messages; return when those taken have been handled."""


class Serving(Subscription, Protocol):
    """A service that answers."""

    @property
    def refused_replies(self) -> int:
        """Requests dropped since their reply subject was not an inbox (an attack: see docs of the server config)."""

    @property
    def failures(self) -> int:
        """Handlers that raised: defects. The requester got `internal error` and no detail."""


class Tail(Protocol):
    """The journal from some point on, with `async for`. Ends only when the bus is closed: use `contextlib.aclosing`."""

    def __aiter__(self) -> "Tail":
        """Itself."""

    async def __anext__(self) -> Record:
        """The next event, as soon as there is one."""

    async def aclose(self) -> None:
        """No more of it."""


class Stored(Protocol):
    """A stream that is only ever appended to."""

    async def append(self, entry: Entry) -> int:
        """Store the event; its sequence. Raises Conflict, Full, Unreachable, Forbidden, or TimedOut (even the
        recovery read got no answer). An answer that got lost on the way is recovered by reading."""

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
        """The events under `filter` with a sequence above `after`, in order, the first `limit` of them."""

    async def last(self, filter: str) -> Record | None:
        """The latest event under `filter`."""


class Journal(Stored, Protocol):
    """The one system of record. Nothing in it is ever changed or removed."""

    async def append_together(self, entries: Sequence[Entry]) -> int:
        """Store all or none; the last one's sequence. Raises as `append` does."""

    def tail(self, after: int) -> Tail:
        """Every event after that sequence, in order, none missing, none twice; waits for new ones, through
        reconnects, for ever."""

    async def usage(self) -> Usage:
        """How full it is."""


class Store(Protocol):
    """Bytes by key, for a while. A key is one or more subject tokens."""

    async def put(self, key: str, data: bytes, *, ttl: float) -> None:
        """Keep it for `ttl` seconds (rounded up to whole ones), in place of what was there. Durable on return."""

    async def get(self, key: str) -> bytes | None:
        """What was put, or None if nothing was, or it is gone."""

    async def delete(self, key: str) -> None:
        """Forget it now."""


class Bus(Protocol):
    """The way to everybody else."""

    @property
    def journal(self) -> Journal:
        """The record."""

    @property
    def policies(self) -> Stored:
        """The versions of the policy: a version's number is its sequence."""

    @property
    def scans(self) -> Stored:
        """The last report of each scanner on each target."""

    @property
    def params(self) -> Store:
        """Parameters that must not be in the journal, by operation id."""

    @property
    def results(self) -> Store:
        """Full outputs, by principal and operation id."""

    @property
    def connected(self) -> bool:
        """Whether the server is there right now. The bus reconnects by itself, for ever."""

    async def server_time(self, *, timeout: float) -> float:
        """Return what the clock of the journal's server shows (Unix seconds), at some instant between call and return.
        Raises Unreachable, TimedOut, Refused, or Forbidden where the server's configuration is of an earlier release.
        """

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Tell whoever listens, at most once. Raises Unreachable when not connected; a Forbidden comes later, and to
        `on_violation` only."""

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        """Ask, and wait for the answer. Raises Unreachable (nobody there, after trying for the lesser of timeout and
        10 s), TimedOut, Forbidden (at once), Full (the service is overloaded), Refused (it failed)."""

    async def request_many(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> list[Message]:
        """Ask everybody; all answers within `timeout` (for discovery). An empty list where nobody is there."""

    async def subscribe(
        self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 64
    ) -> Subscription:
        """Call the handler for each message from now on. With concurrency 1, in order. Raises Forbidden."""

    async def serve(self, service: Service) -> Serving:
        """Answer requests, and be found. A request whose reply subject is not an inbox is dropped and counted."""

    async def pull(
        self, durable: str, stream: str, handler: Callable[[Delivery], Awaitable[None]], *, slots: int
    ) -> Subscription:
        """Work off a durable consumer, never taking more than there are free slots; a slot is free again when its
        handler returns. Survives reconnects and a consumer that is not there yet."""

    async def drain(self, grace: float) -> None:
        """Stop listening, let handlers finish within `grace` seconds, flush, close."""

    async def close(self) -> None:
        """Close at once."""
