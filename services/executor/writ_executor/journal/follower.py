"""Keep the index in step with the journal, and let others wait until it reaches a sequence.

A new replica starts from the latest snapshot (the operations open at one sequence) and reads on from there, so its
start does not depend on the journal's length.

Where it has read a made-up event, it forgets all, begins as a new replica does, and then reads the stream alone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from msgspec import structs

from writ_bus import tasks
from writ_bus.backoff import backoff
from writ_bus.port import Bus, Usage
from writ_bus.tracing import EVENT_ID
from writ_contracts.errors import Conflict, Invalid, WritError
from writ_contracts.history.records import Record
from writ_contracts.life import AcceptedLife, Life, fold
from writ_contracts.subjects import operation_filter, parse_event
from writ_contracts.wire import detached_event, event_of
from writ_executor.journal.index import ARCHIVES, Index
from writ_executor.journal.shared_keys import SharedKeys
from writ_executor.journal.snapshots import IndexSnapshot, IndexSnapshots
from writ_executor.success_rate import SuccessRate
from writ_runtime.journal.journal_guard import JournalGuard, digest_of
from writ_runtime.logs import Log

_ENDS = ("finished", "unknown")
SNAPSHOT_EVERY = 5_000
RECALLS = 64
"""Operations of a snapshot that are read at once."""

OnEvent = Callable[[AcceptedLife, str], None]
"""Called with an operation and the kind of its event that just came, but not for what was read at the start."""

_log = Log("writ.executor")


class JournalFollower:
    """Reads the journal's tail into the index."""

    def __init__(self, bus: Bus, index: Index, keys: SharedKeys, success: SuccessRate, guard: JournalGuard) -> None:
        self._bus = bus
        self._guard = guard
        self._index = index
        self._success = success
        self._snapshots = IndexSnapshots(bus, keys)
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._snapshot_at = 0
        self._last_digest = ""
        self._last_record: Record | None = None
        self.misled: str | None = None
        """What the operator should know after a made-up event, until the executor is restarted."""
        self.damaged = 0
        """Unreadable records: defects, or a writer other than an executor."""

    async def start(self, *, restored: bool = False) -> None:
        """Read the snapshot, then all later events. `restored`: snapshot and journal come from a backup, and the
        snapshot's mark names the earlier stream.
        """
        snapshot, usage = await self._snapshots.load(), await self._bus.journal.usage()
        if snapshot is not None and not restored:
            self._guard.begin(snapshot.mark)
        strange = await self._guard.compare() or (snapshot is not None and snapshot.sequence > usage.last_sequence)
        if snapshot is not None and strange:
            fields = {"sequence": snapshot.sequence, "last": usage.last_sequence}
            _log.warning("snapshot.of_another_journal", **fields, effect="the whole journal is read")
        elif snapshot is not None:
            await self._restore_verified(self._index, snapshot, usage)
        async for record in self._later(self._index.sequence, usage):
            self._apply_record(record)
        if strange or restored:  # before this journal is as long, and the snapshot passes for one of its own
            await self.save()

    async def follow(self, on_event: OnEvent) -> None:
        """Take in every new record until cancelled; write a snapshot now and then."""
        live = True
        while not await self._has_ended(on_event, live=live):
            await self._begin_again()
            live = False

    async def _has_ended(self, on_event: OnEvent, *, live: bool) -> bool:
        """Follow the tail. Return whether it has ended; else what was read is not what the journal has."""
        following = tasks.start(self._follow_tail(on_event, live=live), "journal tail")
        misled = tasks.start(self._guard.misled.wait(), "journal misled")
        try:
            await asyncio.wait({following, misled}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
            return following.done()
        finally:
            following.cancel()
            misled.cancel()
            await asyncio.gather(following, misled, return_exceptions=True)

    async def _begin_again(self) -> None:
        """Replace the index by one that was read from the stream. Until then nothing is accepted or started."""
        reason = self._guard.problem
        for pause in backoff():
            try:
                self._index.replace_with(await self._read_again())
                break
            except WritError as error:
                _log.warning("journal.not_read_again", error=str(error))
            await asyncio.sleep(pause)
        self._guard.begin_again()
        self.misled = f"{reason}. Replace the executors' key, then restart the executors"
        _log.warning("journal.read_again", reason=reason, sequence=self._index.sequence)
        self._wake_waiters(self._index.sequence)

    async def _read_again(self) -> Index:
        """Return what the journal has now. Raises errors of the bus."""
        index, snapshot, usage = Index(), await self._snapshots.load(), await self._bus.journal.usage()
        self._last_digest, self._last_record = "", None
        if snapshot is not None and snapshot.sequence <= usage.last_sequence:
            await self._restore_verified(index, snapshot, usage)
        async for record in self._later(index.sequence, usage):
            with self._readable(sequence=record.sequence, subject=record.subject):
                self._take_in(index, record)
        return index

    async def _later(self, after: int, usage: Usage) -> AsyncIterator[Record]:
        """Yield the events after a sequence, up to the present end at least."""
        while after < usage.last_sequence:
            records = await self._bus.journal.read("writ.journal.>", after=after, limit=2_000)
            if not records:
                return
            for record in records:
                yield record
            after = records[-1].sequence

    async def _follow_tail(self, on_event: OnEvent, *, live: bool) -> None:
        position = self._index.sequence
        async with aclosing(self._bus.journal.tail(position, live=live)) as tail:
            async for record in tail:
                if record.sequence <= position:
                    self._guard.contradict(record.sequence)
                    continue
                position = record.sequence
                self._apply_record(record)
                self._wake_waiters(self._index.sequence)
                self._notify(on_event, record)
                if self._index.sequence - self._snapshot_at >= SNAPSHOT_EVERY:
                    await self.save_known()

    async def reached(self, sequence: int, timeout: float = 5.0) -> bool:
        """Wait until the index has read up to `sequence`; False if it does not in time."""
        if self._index.sequence >= sequence:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((sequence, waiter))
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        return True

    async def save_known(self) -> None:
        """Write a snapshot, unless this process has read what the journal does not have: the next one begins with the
        snapshot before.

        The guard may not have compared the latest events yet: the journal must have the last one of the snapshot.
        """
        snapshot = self._snapshot()  # before the query to the journal: at a stop, events still arrive meanwhile
        self._snapshot_at = snapshot.sequence  # also where this fails: not again with each event
        try:
            await self._guard.compare()
            is_known = self._guard.problem is None and await self._is_verified(snapshot)
        except WritError as error:
            _log.warning("snapshot.not_saved", error=str(error))
            return
        if is_known:
            await self._snapshots.save(snapshot)
        else:
            reason = self._guard.problem or "the journal does not have the last event that was read"
            _log.warning("snapshot.not_saved", error=reason)

    async def save(self) -> None:
        """Write a snapshot for the next starting replica. A failure is logged and does no harm."""
        snapshot = self._snapshot()
        self._snapshot_at = snapshot.sequence
        await self._snapshots.save(snapshot)

    def _snapshot(self) -> IndexSnapshot:
        if self._last_record is not None:
            self._last_digest, self._last_record = digest_of(self._last_record), None
        return IndexSnapshot(
            sequence=self._index.sequence,
            control_sequence=self._index.control_sequence,
            open=self._index.snapshot(),
            mark=self._guard.mark,
            last=self._last_digest,
        )

    async def _is_verified(self, snapshot: IndexSnapshot) -> bool:
        """Return whether the journal has the last event of the snapshot. Older snapshots do not name it."""
        return not snapshot.last or await self._guard.has_event(snapshot.sequence, snapshot.last)

    def _apply_record(self, record: Record) -> None:
        self._guard.read(record)
        try:
            self._take_in(self._index, record)
            where = parse_event(record.subject)
            if where is not None and where.event in _ENDS and (life := self._index.get(where.operation_id)) is not None:
                self._success.ended(record.time, life.outcome or "")
        except (Invalid, Conflict) as error:
            self._count_unreadable(error, sequence=record.sequence, subject=record.subject)

    def _take_in(self, index: Index, record: Record) -> None:
        self._last_record = record
        event_id = record.headers.get(EVENT_ID, "")
        index.read(record.sequence, record.subject, record.data, event_id, record.time)

    def _notify(self, on_event: OnEvent, record: Record) -> None:
        where = parse_event(record.subject)
        life = self._index.get(where.operation_id) if where is not None else None
        if where is not None and isinstance(life, AcceptedLife):
            on_event(life, where.event)

    def _wake_waiters(self, sequence: int) -> None:
        if not self._waiters:
            return
        for awaited, waiter in self._waiters:
            if awaited <= sequence and not waiter.done():
                waiter.set_result(None)
        self._waiters = [pair for pair in self._waiters if not pair[1].done()]

    async def _restore_verified(self, index: Index, snapshot: IndexSnapshot, usage: Usage) -> None:
        """Begin with the snapshot if the journal has its last event."""
        found = {"sequence": snapshot.sequence, "effect": "the whole journal is read"}
        if await self._is_verified(snapshot):
            await self._restore(index, snapshot)
        elif snapshot.sequence < usage.first_sequence:
            _log.info("snapshot.of_archived_events", **found, first=usage.first_sequence)
        else:
            _log.warning("snapshot.of_other_events", **found)

    async def _restore(self, index: Index, snapshot: IndexSnapshot) -> None:
        for at in range(0, len(snapshot.open), RECALLS):
            await asyncio.gather(*(self._recall(index, *named) for named in snapshot.open[at : at + RECALLS]))
        for record in await self._bus.journal.read(ARCHIVES):
            with self._readable(sequence=record.sequence, subject=record.subject):
                index.release(record.sequence, record.data)
        index.sequence = self._snapshot_at = snapshot.sequence
        index.control_sequence, self._last_digest = snapshot.control_sequence, snapshot.last

    async def _recall(self, index: Index, principal: str, operation_id: str) -> None:
        with self._readable(operation_id=operation_id):  # one damaged history must not keep a replica from starting
            index.put(await read_life(self._bus, principal, operation_id))

    @contextmanager
    def _readable(self, **named: Any) -> Iterator[None]:
        """Count and log an unreadable record in place of raising."""
        try:
            yield
        except (Invalid, Conflict) as error:
            self._count_unreadable(error, **named)

    def _count_unreadable(self, error: Exception, **named: Any) -> None:
        self.damaged += 1
        _log.error("journal.unreadable", **named, error=str(error))


async def read_life(bus: Bus, principal: str, operation_id: str) -> Life:
    """Return one operation, folded from the journal itself."""
    records = await bus.journal.read(operation_filter(principal, operation_id))
    events = ((record.sequence, detached_event(event_of(record.subject, record.data))) for record in records)
    life = fold(events)  # type: ignore[arg-type]
    return structs.replace(life, first_time=records[0].time, time=records[-1].time) if records else life
