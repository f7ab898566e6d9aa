"""Keeps the index in step with the journal: pages while it catches up, then what came since the last look.

The journal is believed over the index: if the index turns out damaged, it is thrown away and built anew. A journal that
is another than the one that the index was made from is not believed: nothing is taken from it, and it is an alarm.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import time_ns
from typing import Any

from writ_audit.index import Index, IndexDamaged, IndexPosition
from writ_audit.irregular_events import IrregularEvent, OperationHistories
from writ_audit.projection import Change, project
from writ_bus import tracing
from writ_bus.port import Journal
from writ_contracts.errors import TimedOut, Unreachable, WritError
from writ_contracts.records import Record
from writ_contracts.subjects import JOURNAL, operation_filter, parse_event
from writ_runtime.journal_guard import JournalGuard
from writ_runtime.logs import Log
from writ_runtime.security_events import SecurityEvents, SecurityFinding

BATCH = 1_000
PAUSE = 0.25
"""Seconds between looks at the journal while nobody asks; whoever asks is not kept waiting."""
RETRY_AFTER = 1.0
LOOK_EVERY = 5.0
"""Seconds between looks at how long the journal is, for the lag, and whether it still is the same one."""

_log = Log("writ.audit")


class JournalReplaced(WritError):
    """The journal is not the one that the index was made from."""


class Follower:
    """Reads the journal into the index. `seen` is told kind and size of each event that was taken in, `asked` whether
    the index was current when somebody needed it."""

    def __init__(
        self,
        journal: Journal,
        index: Index,
        guard: JournalGuard,
        on_event: Callable[[str, int], None] = lambda *_: None,
        on_query: Callable[[bool], None] = lambda _: None,
        security: SecurityEvents | None = None,
    ) -> None:
        """`security`: where what is wrong with an operation's events is recorded."""
        self._security = security
        self._histories = OperationHistories()
        self._journal = journal
        self._index = index
        self._guard = guard
        self._on_event = on_event
        self._on_query = on_query
        self._moved = asyncio.Condition()
        self._query_waits = asyncio.Event()
        self._last = 0
        self.problem: str | None = None
        """Why nothing more gets into the index at present."""

    @property
    def position(self) -> int:
        """The last sequence that the index has."""
        return self._index.place.position

    @property
    def lag(self) -> int:
        """How many events the index is behind the journal, as far as is known."""
        return max(0, self._last - self.position)

    async def run(self) -> None:
        """Follow the journal for ever."""
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
        """Wait until the index has this sequence; False if it does not in time."""
        self._query_waits.set()
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(lambda: self.position >= sequence)
        except TimeoutError:
            return False
        return True

    async def current(self, timeout: float) -> bool:
        """Wait until the index has all that the journal holds at this moment; False if it does not in time."""
        last = await self._journal.last(JOURNAL)
        current = last is None or await self.reached(last.sequence, timeout)
        self._on_query(current)
        return current

    async def _check_journal(self) -> None:
        """Raises JournalReplaced unless the index's first and last records are in this journal, as they were, and it is
        the one that is known. The first one may have gone into an archive; what the index had read last has not.
        """
        await self._compare()
        place = self._index.place
        if place.position == 0:
            return
        first = await self._journal.read(JOURNAL, limit=1)
        last = await self._journal.read(JOURNAL, after=place.position - 1, limit=1)
        if not first or (first[0].sequence == 1 and _digest(first[0]) != place.origin):
            raise JournalReplaced("the journal begins with another event")
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
            await asyncio.sleep(LOOK_EVERY)

    async def _follow(self) -> None:
        """Page by page; at the end wait a little for more, so that what comes meanwhile is one group and one commit."""
        self._histories = OperationHistories()  # of events that are read again, nothing is known from the first time
        while True:
            self._query_waits.clear()
            records = await self._journal.read(JOURNAL, after=self.position, limit=BATCH)
            if records:
                await self._apply(records)
            self.problem = None
            if len(records) < BATCH:
                # Not wait_for: on Python 3.11 it loses a cancel that comes as the event is set.
                with suppress(TimeoutError):
                    async with asyncio.timeout(PAUSE):
                        await self._query_waits.wait()

    async def _apply(self, records: list[Record]) -> None:
        changes = [project(record.sequence, record.subject, record.data, record.time) for record in records]
        last = records[-1]
        place = IndexPosition(last.sequence, self._index.place.origin or _digest(records[0]), _digest(last))
        began = time_ns()
        await self._examine(records)  # before the position moves on: whoever is killed meanwhile does it again
        await asyncio.to_thread(self._index.apply, changes, place)
        self._guard.read(last)
        if tracing.exporting():
            _leave_spans(records, changes, began)
        self._last = max(self._last, last.sequence)
        self._count(records, changes)
        async with self._moved:
            self._moved.notify_all()

    async def _examine(self, records: list[Record]) -> None:
        """Record what is wrong with these events of operations."""
        if self._security is None:
            return
        for principal, operation_id in self._histories.unknown(records):
            known = await self._journal.read(operation_filter(principal, operation_id))
            # An `archived` behind them tells that the beginning is in an archive: it counts from the start.
            before = [one for one in known if one.sequence < records[0].sequence or _is_archived(one)]
            self._histories.learn(operation_id, before)
        for record in records:
            if wrong := self._histories.examine(record):
                await self._tell(wrong)

    async def _tell(self, wrong: IrregularEvent) -> None:
        finding = SecurityFinding(
            kind="broken_record",
            detail=f"event {wrong.sequence}: {wrong.what}",
            operation_id=wrong.operation_id,
            principal=wrong.principal,
            after=wrong.sequence,
        )
        if self._security is not None:
            await self._security.record(finding)

    def _count(self, records: list[Record], changes: list[Change]) -> None:
        for record, change in zip(records, changes, strict=True):
            self._on_event(change.event.kind, len(record.data))
            if change.event.kind == "unreadable":
                _log.error("journal.unreadable", sequence=change.event.sequence, subject=change.event.subject)

    async def _doubt(self, why: str) -> None:
        """Take nothing from a journal that is not the one known. Where it is that one, or what was known is given up as
        lost, the index alone is of another: build it anew.
        """
        if self._guard.problem is None:
            await self._rebuild(why)
        else:
            self.problem = why
            await asyncio.sleep(RETRY_AFTER)

    async def _rebuild(self, why: str) -> None:
        _log.warning("index.rebuilt", reason=why)
        await asyncio.to_thread(self._index.reset, why)


async def _until_one_fails(*work: Coroutine[Any, Any, None]) -> None:
    """Raises the error of the first one that fails, when all have ended. A cancel is heeded, whatever they make of
    theirs: before Python 3.13 a TaskGroup loses one that comes as one of its tasks fails.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _leave_spans(records: list[Record], changes: list[Change], began: int) -> None:
    """Of each event that was taken in, as a part of what had it appended."""
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
