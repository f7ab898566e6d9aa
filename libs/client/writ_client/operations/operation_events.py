"""Live events of a principal's operations: one subscription shared by all listeners.

Events come at most once and may be missed (a reconnect, a slow reader), so silence proves nothing: `client` sends a
query after a while.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from msgspec import Struct

from writ_bus.port import Bus, Message, Subscription
from writ_contracts import journal, subjects
from writ_contracts.agents import Progress
from writ_contracts.errors import Invalid
from writ_contracts.wire import decode, decode_event, encode

Event = journal.OperationEvent | Progress
SEQUENCE = "Nats-Sequence"
LARGEST_BACKLOG = 1024
AT_ONCE = 256
_ENDS = (journal.Refused, journal.Rejected, journal.Finished, journal.Unknown, journal.Resolved)


class SequencedEvent(Struct, frozen=True):
    """One event and its sequence in the journal; 0 for progress, which is not in it."""

    sequence: int
    event: Event

    @property
    def ends(self) -> bool:
        """Return whether the operation has an outcome after it."""
        return isinstance(self.event, _ENDS)


class EventFollower:
    """Passes each event to the listeners of its operation."""

    def __init__(self, bus: Bus, principal: str) -> None:
        self._bus = bus
        self._principal = principal
        self._listeners: dict[str, list[asyncio.Queue[SequencedEvent]]] = {}
        self._starting = asyncio.Lock()
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Subscribe; once is enough. Raises Forbidden, Unreachable."""
        async with self._starting:
            if self._subscription is None:
                subject = subjects.events_of(self._principal)
                # The handler never waits, so that handlers run in order though many may; with one at a time the bus
                # would drop what a burst brings.
                self._subscription = await self._bus.subscribe(subject, self._receive, concurrency=AT_ONCE)

    async def close(self) -> None:
        if self._subscription is not None:
            await self._subscription.close()
            self._subscription = None

    @contextmanager
    def listen(self, operation_id: str) -> Iterator[asyncio.Queue[SequencedEvent]]:
        """Yield a queue of this operation's events while the block runs."""
        queue: asyncio.Queue[SequencedEvent] = asyncio.Queue(LARGEST_BACKLOG)
        self._listeners.setdefault(operation_id, []).append(queue)
        try:
            yield queue
        finally:
            self._listeners[operation_id].remove(queue)
            if not self._listeners[operation_id]:
                del self._listeners[operation_id]

    async def _receive(self, message: Message) -> None:
        parts = subjects.parse_event(message.subject)
        if parts is None or parts.operation_id not in self._listeners:
            return
        happening = read(parts.event, message.data, message.headers)
        if happening is None:
            return
        for queue in self._listeners.get(parts.operation_id, ()):
            if not queue.full():
                queue.put_nowait(happening)


def read(kind: str, data: bytes, headers: Mapping[str, str]) -> SequencedEvent | None:
    """Return the event in a message; None for a kind this version does not know."""
    try:
        if kind == "progress":
            return SequencedEvent(0, decode(data, Progress))
        sequence = int(headers.get(SEQUENCE, "0"))
        return SequencedEvent(sequence, decode(data, journal.OperationEvent))  # type: ignore[arg-type]
    except (Invalid, ValueError):
        return None


def of_trace(sequence: int, kind: str, body: Mapping[str, object]) -> SequencedEvent | None:
    """Return the event in a line of a trace; None for events without an operation."""
    event = read_body(kind, body)
    return SequencedEvent(sequence, event) if isinstance(event, journal.OperationEvent) else None


def read_body(kind: str, body: Mapping[str, object]) -> journal.JournalEvent | None:
    """Return the event shown by a trace as plain data; None for an unknown kind."""
    try:
        # By way of bytes: what is signed in it has to be bytes again, and comes out as it went in, being canonical.
        event = decode_event(encode({**body, "type": kind}))
    except Invalid:
        return None
    return None if isinstance(event, journal.Carried) else event
