"""The journal, the stores and the pools' consumers within one process: JetStream as a few lists."""

import asyncio
import time
from collections.abc import Sequence

from writ_bus import tracing
from writ_bus.errors import Conflict, Full, TimedOut, Unreachable
from writ_bus.grammar import check_filter, check_subject, matches
from writ_bus.port import Entry, Usage
from writ_contracts import subjects
from writ_contracts.history.records import Record

PATIENCE = 10.0


class Disk:
    """The state that survives a restart of the server, and whether the server is up."""

    def __init__(self, *, max_bytes: int, ack_wait: float) -> None:
        self.records: list[Record] = []
        self.bytes = 0
        self.max_bytes = max_bytes
        self.ack_wait = ack_wait
        self.kept: dict[str, tuple[bytes, float]] = {}
        self.versions: dict[str, int] = {}
        """Versions of what is kept, from one count for all."""
        self.consumers: dict[str, MemoryConsumer] = {}
        self.online = asyncio.Event()
        self.online.set()
        self.lost_answers = 0
        self.stores = asyncio.Event()
        """Cleared: no write gets an answer, as after a write error of each stream."""
        self.stores.set()
        self._storing: dict[str, asyncio.Event] = {}
        self.clock = time.time
        """The server's clock."""
        self._watchers: set[asyncio.Event] = set()

    def storing(self, stream: str) -> asyncio.Event:
        """Return the event to clear so that writes to this stream alone get no answer: `journal`, or a prefix."""
        if stream not in self._storing:
            self._storing[stream] = event = asyncio.Event()
            event.set()
        return self._storing[stream]

    async def until_stored(self, stream: str) -> None:
        """Return when writes to the stream get an answer."""
        await self.stores.wait()
        await self.storing(stream).wait()

    def watch(self) -> asyncio.Event:
        """Return an event set at every change."""
        watcher = asyncio.Event()
        self._watchers.add(watcher)
        return watcher

    def unwatch(self, watcher: asyncio.Event) -> None:
        self._watchers.discard(watcher)

    def changed(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    def consumer(self, durable: str) -> "MemoryConsumer":
        """Return the durable consumer of a pool."""
        if durable not in self.consumers:
            pool = durable.removeprefix("agent-")
            self.consumers[durable] = MemoryConsumer(self, subjects.dispatched_filter(pool))
        return self.consumers[durable]

    async def until_online(self, patience: float) -> None:
        """Raises Unreachable if the server does not come back."""
        try:
            async with asyncio.timeout(patience):
                await self.online.wait()
        except TimeoutError:
            raise Unreachable("the server is away") from None

    def last_sequence(self, filter: str) -> int:
        """Return the last sequence of events under `filter`; 0 without any."""
        return next((one.sequence for one in reversed(self.records) if matches(filter, one.subject)), 0)

    def store(self, entries: Sequence[Entry]) -> int:
        """Store all or none, as the server does. Return the last sequence."""
        for entry in entries:
            last = self.last_sequence(entry.filter)
            if last != entry.expected:
                raise Conflict(f"{entry.filter} is at {last}, not at {entry.expected}", last=last)
        added = [self._record(entry, number) for number, entry in enumerate(entries, len(self.records) + 1)]
        size = sum(_size(record) for record in added)
        if self.bytes + size > self.max_bytes:
            raise Full(f"the journal holds at most {self.max_bytes} bytes")
        self.records += added
        self.bytes += size
        self.changed()
        return len(self.records)

    def _record(self, entry: Entry, sequence: int) -> Record:
        headers = tracing.outgoing({**entry.headers, tracing.EVENT_ID: entry.event_id})
        return Record(sequence, entry.subject, entry.data, headers, self.clock())


def _size(record: Record) -> int:
    return len(record.subject) + len(record.data) + sum(len(k) + len(v) for k, v in record.headers.items())


class MemoryJournal:
    """A Journal within one process."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    async def append(self, entry: Entry) -> int:
        return await self.append_together([entry])

    async def append_together(self, entries: Sequence[Entry]) -> int:
        for entry in entries:
            check_subject(entry.subject)
        await self._disk.until_online(PATIENCE)
        await self._disk.until_stored("journal")
        try:
            sequence = self._disk.store(entries)
        except Conflict:
            if (own := self._own(entries[-1])) is None:
                raise
            return own
        if self._disk.lost_answers:
            self._disk.lost_answers -= 1
            return self._recovered(entries[-1])
        await asyncio.sleep(0)
        return sequence

    def _own(self, entry: Entry) -> int | None:
        mine = (one for one in self._disk.records if one.headers[tracing.EVENT_ID] == entry.event_id)
        return next((one.sequence for one in mine), None)

    def _recovered(self, entry: Entry) -> int:
        if (sequence := self._own(entry)) is None:
            raise TimedOut(f"whether {entry.subject} was stored is not known")
        return sequence

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None, at_least: int = 1) -> list[Record]:
        check_filter(filter)
        await self._disk.until_online(PATIENCE)
        return [one for one in self._disk.records[after:] if matches(filter, one.subject)][:limit]

    async def last(self, filter: str) -> Record | None:
        await self._disk.until_online(PATIENCE)
        sequence = self._disk.last_sequence(check_filter(filter))
        return self._disk.records[sequence - 1] if sequence else None

    def tail(self, after: int, *, live: bool = True) -> "MemoryTail":
        """Return the tail; nobody can make up an event here."""
        return MemoryTail(self._disk, after)

    async def usage(self) -> Usage:
        await self._disk.until_online(PATIENCE)
        count = len(self._disk.records)
        return Usage(self._disk.bytes, self._disk.max_bytes, count, count)


class MemoryTail:
    """A Tail within one process."""

    def __init__(self, disk: Disk, after: int) -> None:
        self._disk = disk
        self._position = after
        self._changed = disk.watch()

    def __aiter__(self) -> "MemoryTail":
        return self

    async def __anext__(self) -> Record:
        while not self._disk.online.is_set() or self._position >= len(self._disk.records):
            self._changed.clear()
            await self._changed.wait()
        self._position += 1
        return self._disk.records[self._position - 1]

    async def aclose(self) -> None:
        self._disk.unwatch(self._changed)


class MemoryConsumer:
    """A durable consumer: delivered events, and the times of their redelivery."""

    def __init__(self, disk: Disk, filter: str) -> None:
        self._disk = disk
        self.ack_wait = disk.ack_wait
        self._filter = filter
        self._position = 0
        self._attempts: dict[int, int] = {}
        self._due: dict[int, float] = {}

    def take(self, now: float) -> tuple[Record, int] | None:
        """Return the next event to work on, with its attempt."""
        overdue = [sequence for sequence, due in self._due.items() if due <= now]
        if overdue:
            return self._hand_out(min(overdue), now)
        for record in self._disk.records[self._position :]:
            self._position = record.sequence
            if matches(self._filter, record.subject):
                return self._hand_out(record.sequence, now)
        return None

    def _hand_out(self, sequence: int, now: float) -> tuple[Record, int]:
        self._attempts[sequence] = self._attempts.get(sequence, 0) + 1
        self._due[sequence] = now + self.ack_wait
        return self._disk.records[sequence - 1], self._attempts[sequence]

    def next_due(self) -> float | None:
        """Return the time of the next redelivery."""
        return min(self._due.values(), default=None)

    def ack(self, sequence: int) -> None:
        """Do not deliver it again."""
        self._due.pop(sequence, None)

    def again(self, sequence: int, at: float) -> None:
        """Deliver it again at that time, unless it was acked."""
        if sequence in self._due:
            self._due[sequence] = at
            self._disk.changed()


class MemoryStore:
    """A Store within one process."""

    def __init__(self, disk: Disk, prefix: str) -> None:
        self._disk = disk
        self._prefix = prefix

    async def put(self, key: str, data: bytes, *, ttl: float, only_new: bool = False) -> int:
        await self._disk.until_online(PATIENCE)
        await self._disk.until_stored(self._prefix)
        if only_new and await self.get(key) is not None:
            raise Conflict(f"put {key}: there is a value")
        name, version = self._name(key), max(self._disk.versions.values(), default=0) + 1
        self._disk.kept[name], self._disk.versions[name] = (data, time.monotonic() + ttl), version
        return version

    async def get(self, key: str) -> bytes | None:
        await self._disk.until_online(PATIENCE)
        data, until = self._disk.kept.get(self._name(key), (None, 0.0))
        return data if time.monotonic() < until else None

    async def version(self, key: str) -> int:
        present = await self.get(key) is not None
        return self._disk.versions[self._name(key)] if present else 0

    async def renew(self, key: str, *, ttl: float) -> None:
        data, name = await self.get(key), self._name(key)
        version = self._disk.versions.get(name)
        await self._disk.until_stored(self._prefix)
        if data is not None and name in self._disk.kept and self._disk.versions[name] == version:
            await self.put(key, data, ttl=ttl)

    async def delete(self, key: str, *, version: int | None = None) -> None:
        await self._disk.until_online(PATIENCE)
        name = self._name(key)
        if version is None or self._disk.versions.get(name) == version:
            self._disk.kept.pop(name, None)

    def _name(self, key: str) -> str:
        return check_subject(f"{self._prefix}.{key}")
