"""The archived part of the journal and the part which may be archived now: the query `journal`, and checks of
archiving.

A range may go when nothing in it is needed any more: every operation that began there has ended, `unknown` ones had a
week to be resolved, audit has read it, and it is old enough (`WRIT_JOURNAL_KEEP`).
"""

from collections.abc import Callable, Iterator

from msgspec import Struct

from writ_bus.archive_announcements import archives, archives_of
from writ_bus.port import Journal, Usage
from writ_contracts import subjects
from writ_contracts.catalogue.control import JournalArchive
from writ_contracts.errors import Invalid, Unreachable
from writ_contracts.history.archives import ARCHIVE, AnnouncedArchive, in_force, next_of
from writ_contracts.history.audit import JournalReply
from writ_contracts.history.records import Record
from writ_executor.journal.audit_services import AuditServices
from writ_executor.journal.index import Index
from writ_trust.control_events import first_stored

RESOLVED_WITHIN = 7 * 86_400.0
"""Seconds in which a late receipt may still resolve an `unknown`."""


class ArchiveLimit(Struct, frozen=True):
    """The last sequence which may be archived now, and the cause of the limit. `passing`: a limit for a moment only."""

    cut: int
    held_by: str
    passing: bool = False


class Generations:
    """The archives so far and the next possible one."""

    def __init__(
        self,
        journal: Journal,
        index: Index,
        audit_services: AuditServices,
        keep: float,
        full_at: float,
        clock: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._index = index
        self._audit_services = audit_services
        self._keep = keep
        self._full_at = full_at
        self._clock = clock

    async def is_announced(self, operation_id: str) -> bool:
        """Return true if this operation announced an archive, even one no longer valid."""
        return any(one.operation_id == operation_id for one in await archives(self._journal))

    async def must_be_next(self, archive: JournalArchive) -> int:
        """Raises Invalid unless this may be announced now; the sequence of the last announcement, 0 for none: as long
        as it is the last one.
        """
        begins = (await self._journal.usage()).first_sequence
        records = await self._journal.read(subjects.control_event(ARCHIVE))
        following = next_of(archives_of(records), begins)
        number, first = following.generation, following.first
        if (archive.generation, archive.first) != (number, first):
            raise Invalid(f"the next archive is number {number} and begins at {first}", code="conflict")
        if archive.last in following.ends:
            raise Invalid(
                f"archive {number} was announced with another last event than {archive.last}", code="conflict"
            )
        return records[-1].sequence if records else 0

    async def _latest(self, usage: Usage) -> AnnouncedArchive | None:
        return in_force(await archives(self._journal), usage.first_sequence)

    async def cut(self, until: float | None = None) -> ArchiveLimit:
        """Return the last sequence which may be archived now, of events not later than `until` (Unix seconds)."""
        usage = await self._journal.usage()
        limits = [*self._held(), await self._old_enough(usage, until)]
        return min(limits, key=lambda limit: limit.cut)

    def _held(self) -> Iterator[ArchiveLimit]:
        now, position = self._clock(), self._audit_services.position()
        yield ArchiveLimit(self._index.sequence, "this executor, which has not read further", passing=True)
        if position is None:
            silent = "audit, which has not reported lately; its index must include all archived events"
            yield ArchiveLimit(0, silent, passing=True)
        else:
            yield ArchiveLimit(position, "audit, which has not read further", passing=True)
        for life in self._index.open():
            name = life.requested.operation_id
            yield ArchiveLimit(life.first_sequence - 1, f"operation {name}, which has not ended")
        for life in self._index.unknown():
            if now - life.period_start.at < RESOLVED_WITHIN:
                name = life.requested.operation_id
                yield ArchiveLimit(
                    life.first_sequence - 1, f"operation {name}, which is unknown and may still be resolved"
                )

    async def _old_enough(self, usage: Usage, until: float | None) -> ArchiveLimit:
        """Find the last event old enough, by bisection."""
        newest = self._clock() - self._keep
        why = f"WRIT_JOURNAL_KEEP, {self._keep:g} s"
        if until is not None and until < newest:
            newest, why = until, "the requested time"
        low, high = usage.first_sequence - 1, usage.last_sequence
        while low < high:
            middle = (low + high + 1) // 2
            found = await self._journal.read(subjects.JOURNAL, after=middle - 1, limit=1)
            low, high = (middle, high) if found and found[0].time <= newest else (low, middle - 1)
        return ArchiveLimit(low, why)

    async def standing(self, until: float | None) -> JournalReply:
        """Return the answer to the query `journal`. Raises Unreachable (`behind`) while this executor has just
        started.
        """
        if self._audit_services.unheard:
            raise Unreachable(
                "this executor, which has just started and has no report of audit's progress yet", code="behind"
            )
        usage, limit = await self._journal.usage(), await self.cut(until)
        latest = await self._latest(usage)
        return JournalReply(
            first=usage.first_sequence,
            last=usage.last_sequence,
            bytes=usage.bytes,
            max_bytes=usage.max_bytes,
            full_at=self._full_at,
            generation=latest.generation if latest else 0,
            archived=latest.last if latest else 0,
            digest=latest.digest if latest else "",
            cut=limit.cut,
            held_by=limit.held_by,
        )


async def control_events(journal: Journal) -> dict[int, Record]:
    """Return the control events that archives name, by their first sequence."""
    return first_stored(await journal.read(subjects.CONTROL))
