"""Selection of the valid archive, where more than one was announced for the same range of the journal.

Only the successor of the last finished archive may be announced. While all its events are still in the journal, it may
be announced again with another end, and the latest announcement is valid. Once events were removed, the valid one is
the one whose end is just before the journal's first event. So of two concurrent archivers at most one succeeds.

Events may be missing between an archive and the journal's first event: then an operator accepted their loss, and the
next archive begins behind them.
"""

from collections.abc import Collection, Sequence

import msgspec
from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.journal import ControlEvent

ARCHIVE = "journal_archive"
"""The operation whose control event announces an archive."""


class AnnouncedArchive(Struct, frozen=True, kw_only=True):
    """A range announced as archived. `at`: the sequence of its first storage; `seal`: the event."""

    generation: int
    first: int
    last: int
    digest: str
    operation_id: str = ""
    at: int = 0
    seal: bytes = b""


class NextArchive(Struct, frozen=True):
    """The next archive. `ends`: ends of announcements it would replace; it must have another end."""

    generation: int
    first: int
    previous: str
    ends: Collection[int] = ()


def announced(event: ControlEvent, at: int, seal: bytes) -> AnnouncedArchive:
    """Return the announcement in an event. Raises Invalid."""
    fields = {**event.body, "operation_id": event.operation_id, "at": at}
    try:
        return msgspec.structs.replace(msgspec.convert(fields, AnnouncedArchive), seal=seal)
    except msgspec.ValidationError as error:
        raise Invalid(f"event {at} describes no archive: {error}") from error


def in_force(found: Sequence[AnnouncedArchive], begins: int) -> AnnouncedArchive | None:
    """Return the last valid archive of a journal whose first sequence is `begins`; None without one."""
    number = max((one.generation for one in found), default=0)
    same = [one for one in found if one.generation == number]
    latest = max(same, key=lambda one: one.at, default=None)
    if latest is None or latest.last >= begins:  # of the latest one, some events are there still, or all of them
        return next((one for one in same if one.last == begins - 1), latest)
    return max((one for one in same if one.last < begins), key=lambda one: one.last)


def next_of(found: Sequence[AnnouncedArchive], begins: int) -> NextArchive:
    """Return the next archive which may be announced. Raises Invalid while a range is there in part."""
    latest = in_force(found, begins)
    if latest is None:
        return NextArchive(1, begins, "")
    if begins > latest.last:
        return NextArchive(latest.generation + 1, begins, latest.digest)
    if begins > latest.first:
        raise Invalid(f"archive {latest.generation} is partly in the journal still: finish it first", code="conflict")
    ends = frozenset(one.last for one in found if one.generation == latest.generation)
    return NextArchive(latest.generation, latest.first, digest_before(found, latest), ends)


def finished_before(found: Sequence[AnnouncedArchive], archive: AnnouncedArchive) -> AnnouncedArchive | None:
    """Return the preceding archive, which was finished before this one was announced; None for the first."""
    return in_force([one for one in found if one.generation < archive.generation], archive.first)


def digest_before(found: Sequence[AnnouncedArchive], archive: AnnouncedArchive) -> str:
    """Return the digest of the preceding archive; "" for the first."""
    before = finished_before(found, archive)
    return before.digest if before else ""
