"""Keep the index in step with the journal: by large pages while it is behind, then in small batches.

If index and journal disagree, the journal is right: a damaged index is deleted and rebuilt. Only if the journal itself
is not the known one, nothing is read from it and a security event is raised.
"""

import asyncio
import hashlib
import sys
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from time import time_ns
from typing import Any

from writ_audit.index import AuditIndex, IndexPosition
from writ_audit.index_file import IndexDamaged
from writ_audit.irregular_events import IrregularEvent, OperationHistories
from writ_audit.projection import RecordChange, project
from writ_bus import tasks, tracing
from writ_bus.port import Journal
from writ_contracts.errors import Invalid, TimedOut, Unreachable, Untrusted, WritError
from writ_contracts.history.records import Record
from writ_contracts.subjects import JOURNAL, operation_filter, parse_event
from writ_proof.archive.signatures import Signatures
from writ_runtime.journal.journal_guard import JournalGuard
from writ_runtime.journal.security_events import SecurityEvents, SecurityFinding
from writ_runtime.logs import Log

BATCH = 1_000
PAUSE = 0.25
"""Seconds between reads of the journal while there are no queries. A query triggers a read at once."""
RETRY_AFTER = 1.0
CHECK_EVERY = 5.0
_log = Log("writ.audit")


class JournalReplaced(WritError):
    """The journal is not the one that the index was built from."""


class IndexFollower:
    """Reads the journal into the index.

    `on_event` receives the kind and size of each event; `on_query` whether the index was current for a query.
    """

    def __init__(
        self,
        journal: Journal,
        index: AuditIndex,
        guard: JournalGuard,
        on_event: Callable[[str, int], None] = lambda *_: None,
        on_query: Callable[[bool], None] = lambda _: None,
        security: SecurityEvents | None = None,
        policy_keys: Collection[str] = (),
        on_record: Callable[[Record, bool], None] = lambda *_: None,
        seen: int = 0,
    ) -> None:
        """Follow with these hooks.

        `security` records irregular events of operations. `policy_keys`: policy's present and former keys, by which
        signatures are verified; if there are none, no signature is verified. `on_record` receives every event, in
        order, and whether it was received before the index was rebuilt. `seen`: up to this event an earlier process
        saw the journal. Findings up to there that are recorded are not counted again if the index is rebuilt.
        """
        self._on_record = on_record
        self._policy_keys = policy_keys
        self._counting: dict[str, int] = {}
        """Policy's keys, with their last events, as of the records under examination."""
        self._signatures = Signatures(self._counting, by_directory=False)
        self._security = security
        self._histories = OperationHistories()
        self._journal = journal
        self._index = index
        self._counted_until = self._received_until = index.place.position or seen
        self._guard = guard
        self._on_event = on_event
        self._on_query = on_query
        self._moved = asyncio.Condition()
        self._query_waits = asyncio.Event()
        self._last = 0
        self.problem: str | None = None
        """The reason why the index stores no events at present; "" if it does."""

    @property
    def position(self) -> int:
        """Return the last sequence in the index."""
        return self._index.place.position

    @property
    def lag(self) -> int:
        """Return how many events the index is behind, as far as known."""
        return max(0, self._last - self.position)

    async def run(self) -> None:
        while True:
            try:
                await self._check_journal()
                await _until_one_fails(self._watch(), self._follow())
            except IndexDamaged as error:
                await self._rebuild(str(error))
            except JournalReplaced as error:
                await self._doubt(str(error))
            except (Unreachable, TimedOut) as error:
                self.problem = str(error)
                _log.warning("index.waiting", error=str(error), retry_after=RETRY_AFTER)
                await asyncio.sleep(RETRY_AFTER)

    async def reached(self, sequence: int, timeout: float) -> bool:
        """Wait until the index has this sequence. Return False if it does not within `timeout`."""
        self._query_waits.set()
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(lambda: self.position >= sequence)
        except TimeoutError:
            return False
        return True

    async def current(self, timeout: float) -> bool:
        """Wait until the index has every event that the journal has now. Return False if it does not
        within `timeout`.
        """
        last = await self._journal.last(JOURNAL)
        self._last = max(self._last, last.sequence if last else 0)
        current = last is None or await self.reached(last.sequence, timeout)
        self._on_query(current)
        return current

    async def _check_journal(self) -> None:
        """Check that this is the known journal, and that the first and last record of the index are in it unchanged.

        The first record may have been archived; the last one may not. Raises JournalReplaced.
        """
        await self._compare()
        place = self._index.place
        if place.position == 0:
            return
        first = await self._journal.read(JOURNAL, limit=1)
        last = await self._journal.read(JOURNAL, after=place.position - 1, limit=1)
        if not first or (first[0].sequence == 1 and _digest(first[0]) != place.origin):
            raise JournalReplaced("the journal begins with another event than before")
        if not last or last[0].sequence != place.position or _digest(last[0]) != place.last:
            raise JournalReplaced(f"the journal has another event at {place.position}, or none")

    async def _compare(self) -> None:
        await self._guard.compare()
        if self._guard.problem is not None:
            raise JournalReplaced(self._guard.problem)

    async def _watch(self) -> None:
        while True:
            with suppress(Unreachable, TimedOut):
                usage = await self._journal.usage()
                self._last = usage.last_sequence
                if usage.last_sequence < self.position:
                    raise JournalReplaced(f"the journal ends at {usage.last_sequence}, before {self.position}")
                await self._compare()
            await asyncio.sleep(CHECK_EVERY)

    async def _follow(self) -> None:
        """Read page by page. At the end wait a little, so further events form one group and one commit."""
        self._signatures = Signatures(self._counting, by_directory=False)
        self._histories = OperationHistories()  # of events that are read again, nothing is known from the first time
        while True:
            self._query_waits.clear()
            records = await self._journal.read(JOURNAL, after=self.position, limit=BATCH)
            if records:
                await self._apply(records)
            self.problem = None
            if len(records) < BATCH:
                # Not wait_for: on Python 3.11 it loses a cancellation that arrives while the event is set.
                with suppress(TimeoutError):
                    async with asyncio.timeout(PAUSE):
                        await self._query_waits.wait()

    async def _apply(self, records: list[Record]) -> None:
        last = records[-1]
        place = IndexPosition(last.sequence, self._index.place.origin or _digest(records[0]), _digest(last))
        began = time_ns()
        changes = await self._examine(records)  # before the position moves: a kill in between repeats it
        await asyncio.to_thread(self._index.apply, changes, place)
        self._guard.read(last)
        if tracing.exporting():
            _leave_spans(records, changes, began)
        self._last = max(self._last, last.sequence)
        self._count(records, changes)
        async with self._moved:
            self._moved.notify_all()

    async def _examine(self, records: list[Record]) -> list[RecordChange]:
        """Return the index changes of the records, and record the irregular ones. Each record is decoded once."""
        if self._security is not None:
            await self._learn(records)
        self._read_keys()
        changes = list[RecordChange]()
        for record in records:
            changes.append(project(record.sequence, record.subject, record.data, record.time))
            if wrong := self._wrong(record):
                await self._report(wrong)
            self._on_record(record, record.sequence <= self._received_until)
        self._received_until = max(self._received_until, records[-1].sequence)
        return changes

    def _read_keys(self) -> None:
        """Read policy's keys once for the records of a page: they are in a file, and each event needs them twice."""
        keys = self._policy_keys
        counting = keys if isinstance(keys, Mapping) else dict.fromkeys(keys, sys.maxsize)
        self._counting.clear()
        self._counting.update(counting.items())

    async def _learn(self, records: list[Record]) -> None:
        """Read the earlier events of operations that began before these records."""
        for principal, operation_id in self._histories.unknown(records):
            known = await self._journal.read(operation_filter(principal, operation_id))
            # A later `archived` event shows that the beginning is in an archive, so it counts from the start.
            before = [one for one in known if one.sequence < records[0].sequence or _is_archived(one)]
            self._histories.learn(operation_id, before)

    def _wrong(self, record: Record) -> IrregularEvent | None:
        if self._security is None:
            return None
        return self._histories.examine(record) or self._wrong_signature(record)

    def _wrong_signature(self, record: Record) -> IrregularEvent | None:
        """Return a finding if a signature of the event is not valid.

        `granted` is not verified here: policy alone can write it, and verified the claim. Archives verify it once more.
        """
        where = parse_event(record.subject)
        if where is None or where.event == "granted" or not self._counting:
            return None
        try:
            self._signatures.check(record)
        except Untrusted as error:
            about = {"operation_id": where.operation_id, "principal": where.principal}
            return IrregularEvent(sequence=record.sequence, what=f"{where.event} is not valid: {error}", **about)
        except Invalid:
            return None  # the index reports unreadable events itself
        return None

    async def _report(self, wrong: IrregularEvent) -> None:
        finding = SecurityFinding(
            kind="broken_record",
            detail=f"event {wrong.sequence}: {wrong.what}",
            operation_id=wrong.operation_id,
            principal=wrong.principal,
            after=wrong.sequence,
            again=wrong.sequence <= self._counted_until,
        )
        if self._security is not None:
            await self._security.record(finding)
            self._counted_until = max(self._counted_until, wrong.sequence)

    def _count(self, records: list[Record], changes: list[RecordChange]) -> None:
        for record, change in zip(records, changes, strict=True):
            self._on_event(change.event.kind, len(record.data))
            if change.event.kind == "unreadable":
                _log.error("journal.unreadable", sequence=change.event.sequence, subject=change.event.subject)

    async def _doubt(self, why: str) -> None:
        """Stop reading an unknown journal. If the journal is the known one, or the operator accepted the loss, then
        only the index belongs to another journal: rebuild it.
        """
        if self._guard.problem is None:
            self._counted_until = self._received_until = 0
            await self._rebuild(why)
        else:
            self.problem = why
            await asyncio.sleep(RETRY_AFTER)

    async def _rebuild(self, why: str) -> None:
        _log.warning("index.rebuilt", reason=why)
        await asyncio.to_thread(self._index.reset, why)


async def _until_one_fails(*work: Coroutine[Any, Any, None]) -> None:
    """Raise the error of the first failed task, after all have ended.

    A cancellation always takes effect: before Python 3.13 a TaskGroup loses one that arrives at the moment a task
    fails.
    """
    running = [tasks.start(one, "index") for one in work]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _leave_spans(records: list[Record], changes: list[RecordChange], began: int) -> None:
    """Emit a span for each event, as part of its writer's trace."""
    for record, change in zip(records, changes, strict=True):
        if tracing.TRACEPARENT in record.headers:
            event = change.event
            facts = {"operation_id": event.operation_id, "sequence": event.sequence}
            tracing.left(f"index {event.kind}", record.headers, began, **facts)


def _is_archived(record: Record) -> bool:
    where = parse_event(record.subject)
    return where is not None and where.event == "archived"


def _digest(record: Record) -> str:
    return hashlib.sha256(record.subject.encode() + b"\0" + record.data).hexdigest()
