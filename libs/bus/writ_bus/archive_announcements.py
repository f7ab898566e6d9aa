"""Announcements of archives in the journal."""

from collections.abc import Sequence

from writ_bus.port import EventStore
from writ_contracts import subjects
from writ_contracts.history.archives import AnnouncedArchive, announced
from writ_contracts.history.copied_control_events import origin
from writ_contracts.history.records import Record
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import decode

ARCHIVE = "journal_archive"


async def archives(journal: EventStore) -> list[AnnouncedArchive]:
    """Return each announced archive, once, in order. Raises Invalid, and the errors of the bus."""
    return archives_of(await journal.read(subjects.control_event(ARCHIVE)))


def archives_of(records: Sequence[Record]) -> list[AnnouncedArchive]:
    """Return the archives these events announce, once each, in order."""
    found = {origin(one.headers, one.sequence): one.data for one in records}
    return [announced(decode(data, ControlEvent), at, data) for at, data in sorted(found.items())]
