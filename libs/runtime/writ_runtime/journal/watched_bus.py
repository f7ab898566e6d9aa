"""A Bus whose writes to streams are watched: one StorageWatch for each stream that its service writes."""

import asyncio
from collections.abc import Callable, Sequence

from writ_bus.forwarding_bus import ForwardingBus, ForwardingJournal
from writ_bus.port import Bus, Entry, EventStore, Journal, Store
from writ_contracts import subjects
from writ_contracts.history.records import Record
from writ_runtime.journal.storage_watch import StorageWatch, problem_of

MOST_ACKNOWLEDGED = 4_096
"""Events of more than the time between two comparisons of the journal."""


class WatchedJournal(ForwardingJournal):
    """The Journal port; its appends are watched. They raise Unreachable (`not_stored`) too."""

    def __init__(self, journal: Journal, watch: StorageWatch) -> None:
        super().__init__(journal)
        self._watch = watch
        self.acknowledged: dict[int, str] = {}
        """The ids, by sequence, of the latest events that were stored through it; of several stored together the last.
        """

    async def append(self, entry: Entry) -> int:
        async with self._watch.storing():
            return self._stored(entry, await super().append(entry))

    async def append_together(self, entries: Sequence[Entry]) -> int:
        async with self._watch.storing():
            return self._stored(entries[-1], await super().append_together(entries))

    def _stored(self, entry: Entry, sequence: int) -> int:
        # The first event of a sequence counts: where there is another, the journal has lost the first.
        self.acknowledged.setdefault(sequence, entry.event_id)
        if len(self.acknowledged) > MOST_ACKNOWLEDGED:
            del self.acknowledged[next(iter(self.acknowledged))]
        return sequence


class WatchedEventStore:
    """The EventStore port; its appends are watched. They raise Unreachable (`not_stored`) too."""

    def __init__(self, store: EventStore, watch: StorageWatch) -> None:
        self._store = store
        self._watch = watch

    async def append(self, entry: Entry) -> int:
        async with self._watch.storing():
            return await self._store.append(entry)

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None, at_least: int = 1) -> list[Record]:
        return await self._store.read(filter, after=after, limit=limit, at_least=at_least)

    async def last(self, filter: str) -> Record | None:
        return await self._store.last(filter)


class WatchedStore:
    """The Store port; its writes are watched. They raise Unreachable (`not_stored`) too."""

    def __init__(self, store: Store, watch: StorageWatch) -> None:
        self._store = store
        self._watch = watch

    async def put(self, key: str, data: bytes, *, ttl: float, only_new: bool = False) -> int:
        async with self._watch.storing():
            return await self._store.put(key, data, ttl=ttl, only_new=only_new)

    async def get(self, key: str) -> bytes | None:
        return await self._store.get(key)

    async def version(self, key: str) -> int:
        return await self._store.version(key)

    async def renew(self, key: str, *, ttl: float) -> None:
        if await self._store.get(key) is not None:  # else nothing is stored, which the watch expects
            async with self._watch.storing():
                await self._store.renew(key, ttl=ttl)

    async def delete(self, key: str, *, version: int | None = None) -> None:
        await self._store.delete(key, version=version)


class WatchedBus(ForwardingBus):
    """The Bus port with watched streams. `unwatched`: the same bus without a watch."""

    def __init__(self, bus: Bus, clock: Callable[[], float]) -> None:
        """Watch the writes to all streams of `bus`. `clock`: the journal server's time."""
        super().__init__(bus)
        self.unwatched = bus
        self.watches = {stream: StorageWatch(stream, bus, clock) for stream in subjects.STREAMS}
        self.journal: WatchedJournal = WatchedJournal(bus.journal, self.watches[subjects.JOURNAL_STREAM])
        self.policies = WatchedEventStore(bus.policies, self.watches[subjects.POLICIES_STREAM])
        self.scans = WatchedEventStore(bus.scans, self.watches[subjects.SCANS_STREAM])
        self.params = WatchedStore(bus.params, self.watches[subjects.PARAMS_STREAM])
        self.results = WatchedStore(bus.results, self.watches[subjects.RESULTS_STREAM])

    @property
    def storage_problem(self) -> str | None:
        """Return why nothing is stored in some streams, the journal first."""
        dead = [watch.stream for watch in self.watches.values() if watch.problem is not None]
        return problem_of(*dead) if dead else None

    def require(self, stream: str) -> None:
        """Raise Unreachable (`not_stored`) while nothing is stored in the stream."""
        self.watches[stream].require()

    async def watch(self) -> None:
        """Judge all streams, until cancelled."""
        await asyncio.gather(*(watch.watch() for watch in self.watches.values()))
