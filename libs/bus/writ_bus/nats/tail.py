"""The whole journal, gap free and in order, without a consumer on the server.

The stream's RePublish brings each stored event with its sequence. The next one in order is used at once; a gap, a
reconnect or a second of silence is filled by direct gets. So nothing depends on the delivery of a core message.

Every key of the account can publish there as if it were the stream. The stream still republishes the true event, so a
reader that got a made-up one gets two events with one sequence. Where live events may have been lost, those that were
returned are compared with the stream. A tail that is not live returns only what it reads from the stream: for it,
published events are only a signal to read.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription

from writ_bus.backoff import backoff, pause_after
from writ_bus.errors import Forbidden, TimedOut, Unreachable
from writ_bus.nats.connection import NatsConnection
from writ_bus.nats.jetstream import record
from writ_contracts.history.records import Record

_logger = logging.getLogger("writ.bus")

SILENCE = 1.0
TICK = 0.001
"""Seconds by which the clock of an event loop may be behind one of its own timers."""
AHEAD = 4_096
"""Events that may wait for a slow reader; more are dropped and read again from the stream."""
PAGE = 256
TRIES = 5
"""Reads after a sign of an event that the replica which replies does not have yet: half a second in all."""

Page = Callable[[str, int, int], Awaitable[tuple[list[Record], int]]]


class NatsTail:
    """The Tail port over NATS."""

    def __init__(
        self, connection: NatsConnection, page: Page, subjects: str, republished: str, after: int, *, live: bool = True
    ) -> None:
        self._connection = connection
        self._page = page
        self._subjects = subjects
        self._republished = republished
        self._position = after
        self._is_live = live
        self._live: deque[Record] = deque()
        self._read: deque[Record] = deque()
        self._taken: dict[int, int] = {}  # the hashes of the last AHEAD live events that were returned
        self._behind = True
        self._lost = False  # live events may have been lost since
        self._sign, self._signs = 0, 0
        """In a tail that is not live: the sequence of the latest republished event, and the number of such messages."""
        self._tries = 0
        self._absent: tuple[int, float] | None = None
        """A live event that is not in the stream, and when this was first found."""
        self._arrived = asyncio.Event()
        self._subscription: NatsSubscription | None = None
        self._waits_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __aiter__(self) -> "NatsTail":
        return self

    async def __anext__(self) -> Record:
        if self._connection.closed.is_set():
            raise StopAsyncIteration
        if self._subscription is None:
            await self._listen()
        while (event := self._take()) is None:
            if self._behind or self._lost:
                await self._fill()
            else:
                await self._wait()
            if self._connection.closed.is_set():
                raise StopAsyncIteration
        self._position = max(self._position, event.sequence)
        return event

    def _take(self) -> Record | None:
        """Return the next event in order, if it is here, or another one than was returned for its sequence. Drops
        earlier ones, notes a gap.
        """
        while self._live and self._live[0].sequence <= self._position:
            earlier = self._live.popleft()
            returned = self._taken.get(earlier.sequence)
            if returned is not None and returned != _hash_of(earlier):
                return earlier
        if self._read:
            return self._read.popleft()
        if not self._live or (self._lost and self._taken):
            return None  # `_fill` compares them first
        if self._live[0].sequence > self._position + 1:
            self._behind = True
            return None
        event = self._live.popleft()
        self._taken[event.sequence] = _hash_of(event)
        if len(self._taken) > AHEAD:
            del self._taken[next(iter(self._taken))]
        return event

    async def _listen(self) -> None:
        self._connection.on_back.append(self._suspect)
        self._connection.on_closed.append(self._suspect)
        for pause in backoff():
            try:
                self._subscription = await self._connection.listen(self._republished, self._on_message)
            except (Unreachable, TimedOut):
                await self._connection.wait_up(pause)
            else:
                return

    def _on_message(self, message: Msg) -> None:
        if not message.headers or "Nats-Sequence" not in message.headers:
            return  # an executor's progress message: not an event of the journal
        if self._is_live and len(self._live) >= AHEAD:
            self._live.clear()
            self._behind = self._lost = True
        elif (event := record(message)) is not None:
            self._take_in(event)
        # Not at once: a reply in the same read lets a caller go on, and goes first.
        self._connection.loop.call_soon(self._arrived.set)

    def _take_in(self, event: Record) -> None:
        if self._is_live:
            self._live.append(event)
        elif event.sequence > self._position:
            self._behind, self._sign, self._tries = True, event.sequence, TRIES
            self._signs += 1

    def _suspect(self) -> None:
        self._behind = self._lost = True
        self._arrived.set()

    async def _wait(self) -> None:
        """Wait for an event, or for a second of silence. One timer serves many waits, of which each operation has
        several.
        """
        self._arrived.clear()
        self._waits_since = self._connection.loop.time()
        if self._timer is None:
            self._ring_at(self._waits_since + SILENCE)
        try:
            await self._arrived.wait()
        finally:
            self._waits_since = None

    def _ring_at(self, when: float) -> None:
        self._timer = self._connection.loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._waits_since is None:
            return
        due = self._waits_since + SILENCE
        if self._connection.loop.time() + TICK < due:
            self._ring_at(due)
        else:
            self._behind = True
            self._arrived.set()

    async def _fill(self) -> None:
        """Read one page from the stream. Live events then continue it, or show the next gap."""
        for pause in backoff():
            if self._connection.closed.is_set():
                return
            signs = self._signs
            try:
                await self._compare_returned()
                page, more = await self._page(self._subjects, self._position, PAGE)
            except (Unreachable, TimedOut, Forbidden) as error:
                _logger.debug("tail.fill", extra={"error": str(error)})
                await self._connection.wait_up(pause)
            else:
                self._read.extend(page)
                self._behind = more > 0 or self._signs != signs
                end = page[-1].sequence if page else self._position
                self._drop_absent(end, more)
                await self._wait_for_replica(end, pause)
                return

    def _drop_absent(self, end: int, more: int) -> None:
        """Drop a live event that the stream has not reached for a while: it is made up, or will be read from there.
        Left in place it would have every later event read from the stream, until its sequence is reached.
        """
        if more or not self._live or self._live[0].sequence <= end + 1:
            self._absent = None
            return
        first, now = self._live[0].sequence, self._connection.loop.time()
        if self._absent is None or self._absent[0] != first:
            self._absent = first, now
        elif now - self._absent[1] > SILENCE:
            _logger.warning("tail.not_in_the_stream", extra={"sequence": first, "last": end})
            self._live.popleft()
            self._absent = None

    async def _wait_for_replica(self, end: int, pause: float) -> None:
        """Wait a moment where a replica lags behind what was republished."""
        if self._live and end == self._position:
            await asyncio.sleep(pause)
        elif self._tries and self._sign > end and not self._read:
            await asyncio.sleep(pause_after(TRIES - self._tries))
            self._tries -= 1
            self._behind = True

    async def _compare_returned(self) -> None:
        """Read the live events that were returned from the stream, and return those that differ to the reader: the true
        ones may be among the lost.
        """
        if not self._lost:
            return
        self._lost = False  # true again if more are lost during the reads
        position, more = min(self._taken, default=self._position) - 1, 1
        try:
            while self._taken and more and position < self._position:
                page, more = await self._page(self._subjects, position, PAGE)
                if not page:
                    break
                self._read.extend(one for one in page if self._taken.get(one.sequence, _hash_of(one)) != _hash_of(one))
                position = page[-1].sequence
        except (Unreachable, TimedOut, Forbidden):
            self._lost = True
            raise

    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connection.forget(self._suspect)
        if self._subscription is not None:
            await self._connection.unlisten(self._subscription)


def _hash_of(event: Record) -> int:
    """Return the hash of an event, which no other process can predict."""
    return hash((event.subject, event.data, event.time))
