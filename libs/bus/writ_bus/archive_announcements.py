"""What the journal says of archives of itself."""

from collections.abc import Sequence

from writ_bus.port import Stored
from writ_contracts import subjects
from writ_contracts.archives import Announced, announced
from writ_contracts.copied_control_events import origin
from writ_contracts.journal import ControlEvent
from writ_contracts.records import Record
from writ_contracts.wire import decode

ARCHIVE = "journal_archive"


async def archives(journal: Stored) -> list[Announced]:
    """Each that was announced, once, in that order. Raises Invalid, and what the bus raises."""
    return archives_of(await journal.read(subjects.control_event(ARCHIVE)))


def archives_of(records: Sequence[Record]) -> list[Announced]:
    """As `archives`, of the events that were read."""
    found = {origin(one.headers, one.sequence): one.data for one in records}
    return [announced(decode(data, ControlEvent), at, data) for at, data in sorted(found.items())]
