"""Announcements of archives in the journal."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from writ_bus.port import EventStore
from writ_contracts import subjects
from writ_contracts.errors import Invalid
from writ_contracts.history.archives import ARCHIVE, AnnouncedArchive, announced, in_force
from writ_contracts.history.copied_control_events import origin
from writ_contracts.history.records import Record
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import decode

Counts = Callable[[ControlEvent, int], bool]
"""Returns whether a control event counts that was first stored at this sequence."""


async def archives(journal: EventStore) -> list[AnnouncedArchive]:
    """Return each announced archive, once, in order. Raises Invalid, and the errors of the bus."""
    return archives_of(await journal.read(subjects.control_event(ARCHIVE)))


async def archived_up_to(journal: EventStore, begins: int, counts: Counts) -> int:
    """Return the last event of the archives of a journal whose first sequence is `begins`, or 0 without any.

    An announcement that cannot be read is none. `counts` is asked for each of the others. Raises the errors of the bus.
    """
    found: list[AnnouncedArchive] = []
    for record in await journal.read(subjects.control_event(ARCHIVE)):
        with suppress(Invalid):
            at, event = origin(record.headers, record.sequence), decode(record.data, ControlEvent)
            if counts(event, at):
                found.append(announced(event, at, record.data))
    latest = in_force(found, begins)
    return latest.last if latest else 0


def archives_of(records: Sequence[Record]) -> list[AnnouncedArchive]:
    """Return the archives these events announce, once each, in order."""
    found = {origin(one.headers, one.sequence): one.data for one in records}
    return [announced(decode(data, ControlEvent), at, data) for at, data in sorted(found.items())]
