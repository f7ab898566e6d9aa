"""`journal_archive`: store again whatever must outlive a range of the journal, then release the range.

Each operation of the range keeps one small event under its own subjects, so the journal still refuses its
idempotency key. All control events are kept byte for byte. The client (`writ journal archive`) makes the archive before
and removes the range afterwards. Each step may be repeated.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import cast

import msgspec
from msgspec import structs

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.catalogue.control import JournalArchive
from writ_contracts.errors import Conflict, Invalid, Unreachable
from writ_contracts.history.records import Record
from writ_contracts.journal import Archived, Outcome, Rejected, Requested
from writ_contracts.life import AcceptedLife, Life
from writ_contracts.wire import decode_event
from writ_executor.control.control_outcome import ControlOutcome
from writ_executor.journal.follower import read_life
from writ_executor.journal.generations import Generations, control_events
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.recorder import Recorder
from writ_runtime.faults import fault
from writ_trust.digests import of_all

PAGE = 200
"""Operations handled and written together."""
AT_ONCE = 32
DAY = 86_400.0


class ArchiveOperation:
    """The operation `journal_archive`."""

    def __init__(
        self, bus: Bus, recorder: Recorder, vault: Vault, generations: Generations, remember_days: float
    ) -> None:
        self._bus = bus
        self._journal = bus.journal
        self._recorder = recorder
        self._vault = vault
        self._generations = generations
        self._remember = remember_days * DAY
        self._at_it = asyncio.Lock()

    async def carry_out(self, requested: Requested) -> ControlOutcome:
        """Archive the range. Raises Invalid unless the range is the next one and has no open operations."""
        async with self._at_it:  # the sweep takes up what takes long: here it waits, and finds it done
            archive = msgspec.convert(requested.effective, JournalArchive)
            if await self._generations.is_announced(requested.operation_id):
                return _done(requested, archive.generation)
            try:
                await self._check(archive, requested.at + requested.timeout)
            except Invalid:
                if await self._generations.is_announced(requested.operation_id):  # by another replica, just now
                    return _done(requested, archive.generation)
                raise
            await self._keep_names(archive.generation, archive.last)
            fault("executor.names_kept")
            await self._carry(archive)
            fault("executor.control_carried")
            await self._announce(requested, archive)
            fault("executor.control_stored")
            return _done(requested, archive.generation)

    async def _check(self, archive: JournalArchive, give_up: float) -> None:
        await self._generations.must_be_next(archive)
        limit = await self._generations.cut()
        if archive.last > limit.cut:
            held = f"the journal can be archived up to event {limit.cut} now; later events are kept for {limit.held_by}"
            if limit.passing and self._recorder.clock() < give_up:
                raise Unreachable(held)  # the sweep tries again
            raise Invalid(held, code="conflict")

    async def _keep_names(self, generation: int, last: int) -> None:
        """Leave an `archived` event for each operation begun up to `last`."""
        named = [subjects.every_operation_filter(event) for event in ("requested", "archived")]
        for kind in (*named, subjects.dispatched_requests_filter()):
            after = 0
            while records := await self._journal.read(kind, after=after, limit=PAGE):
                inside = [record for record in records if record.sequence <= last]
                await self._keep_some(inside, generation, last)
                if len(inside) < len(records):
                    break
                after = records[-1].sequence

    async def _keep_some(self, records: Sequence[Record], generation: int, last: int) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def name(record: Record) -> tuple[Life, Archived] | None:
            async with turns:
                return await self._name(record, generation, last)

        found = [one for one in await asyncio.gather(*map(name, records)) if one is not None]
        if found:
            await self._store(found)

    async def _store(self, named: Sequence[tuple[Life, Archived]]) -> None:
        try:
            await self._recorder.append_each(named)
        except Conflict:  # another replica does the same, or a late receipt came: now one by one
            for life, event in named:
                await self._store_one(life, event)

    async def _store_one(self, life: Life, event: Archived) -> None:
        for _ in range(AT_ONCE):
            try:
                await self._recorder.append_each([(life, event)])
            except Conflict:
                life = await read_life(self._bus, event.principal, event.operation_id)
                if life.archived is not None and life.archived.generation >= event.generation:
                    return
            else:
                return
        raise Conflict(f"{event.operation_id} changed {AT_ONCE} times during its archiving: try again")

    async def _name(self, record: Record, generation: int, last: int) -> tuple[Life, Archived] | None:
        """Return the operation and its `archived` event; None if the event exists or none is needed."""
        event = decode_event(record.data)
        if not isinstance(event, Requested | Archived):
            raise Invalid(f"event {record.sequence} does not match its subject")
        began = event.at if isinstance(event, Requested) else event.requested_at
        if self._recorder.clock() - began > self._remember:
            return None
        life = await read_life(self._bus, event.principal, event.operation_id)
        if life.archived is not None and life.sequence > last and _is_named(life, generation):
            return None
        if life.open:
            raise Invalid(f"operation {event.operation_id} of event {record.sequence} has not ended", code="conflict")
        return life, self._archived(life, generation)

    def _archived(self, life: Life, generation: int) -> Archived:
        begun_here = isinstance(life, AcceptedLife)
        if life.archived is not None:  # by an earlier archive: it stays, unless the operation begins in this one
            found = generation if begun_here else life.archived.generation
            return structs.replace(life.archived, id=os.urandom(16).hex(), at=self._recorder.clock(), generation=found)
        assert isinstance(life, AcceptedLife)  # noqa: S101 - it began with one of them
        assert life.end is not None  # noqa: S101 - and has ended
        requested = life.requested
        return Archived(
            id=os.urandom(16).hex(),
            at=self._recorder.clock(),
            correlation_id=requested.correlation_id,
            operation_id=requested.operation_id,
            principal=requested.principal,
            operation=requested.operation,
            target=requested.target,
            requested_at=requested.at,
            outcome=cast(Outcome, life.outcome),
            fingerprint=requested.fingerprint,
            generation=generation,
            code="rejected" if isinstance(life.end, Rejected) else life.end.code,
            acts_for=requested.acts_for,
            dry_run=requested.dry_run,
        )

    async def _carry(self, archive: JournalArchive) -> None:
        """Store the control events of the range again. Their first sequences give their order."""
        inside = {
            origin: one for origin, one in (await control_events(self._journal)).items() if origin <= archive.last
        }
        if of_all(record.data for record in inside.values()) != archive.control:
            raise Invalid("the control events of the range differ from those in the archive", code="conflict")
        for origin, record in inside.items():
            if record.sequence <= archive.last:
                await self._recorder.append_again(
                    record, origin, f"carried-{archive.generation}-{archive.last}-{origin}"
                )

    async def _announce(self, requested: Requested, archive: JournalArchive) -> None:
        """Announce the archive: from here on the range may go. Raises Invalid if another archive was first, Conflict
        for a race.
        """
        kind = requested.operation
        event = self._recorder.control_event(requested, self._vault.keys_of(requested).parameters)
        last = await self._generations.must_be_next(archive)
        await self._recorder.append_after(last, subjects.control_event(kind), event)


def _is_named(life: Life, generation: int) -> bool:
    """Return whether the operation needs no `archived` event: it has no request here, or has the event of this
    archive or a later one.
    """
    begun_here = isinstance(life, AcceptedLife)
    return not begun_here or (life.archived is not None and life.archived.generation >= generation)


def _done(requested: Requested, generation: int) -> ControlOutcome:
    return ControlOutcome(output={"id": requested.operation_id, "generation": generation})
