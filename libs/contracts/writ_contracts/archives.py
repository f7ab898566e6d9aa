"""Which archive of the journal counts, where more than one was announced for the same range.

Only the archive after the last one that is finished may be announced: while all of its events are still in the journal
it may be so again, ending elsewhere, and the latest announcement counts. Once events were taken out, it is the one that
ends where the journal begins, whatever was announced at that moment. So two who archive at once cannot both be right.
"""

from collections.abc import Collection, Sequence

import msgspec
from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.journal import ControlEvent


class Announced(Struct, frozen=True, kw_only=True):
    """A range that was announced as archived. `at`: where that was first stored; `seal`: the event."""

    generation: int
    first: int
    last: int
    digest: str
    operation_id: str = ""
    at: int = 0
    seal: bytes = b""


class Next(Struct, frozen=True):
    """What the next archive is. `ends`: where announcements that it would take the place of end; it ends elsewhere."""

    generation: int
    first: int
    previous: str
    ends: Collection[int] = ()


def announced(event: ControlEvent, at: int, seal: bytes) -> Announced:
    """What the event says. Raises Invalid."""
    fields = {**event.body, "operation_id": event.operation_id, "at": at}
    try:
        return msgspec.structs.replace(msgspec.convert(fields, Announced), seal=seal)
    except msgspec.ValidationError as error:
        raise Invalid(f"event {at} tells of no archive: {error}") from error


def in_force(found: Sequence[Announced], begins: int) -> Announced | None:
    """The last one that counts, in a journal that begins at `begins`; None if there was none."""
    number = max((one.generation for one in found), default=0)
    same = [one for one in found if one.generation == number]
    taken = (one for one in same if one.last == begins - 1)
    return next(taken, max(same, key=lambda one: one.at, default=None))


def next_of(found: Sequence[Announced], begins: int) -> Next:
    """What may be announced now. Raises Invalid while a range is there in part."""
    latest = in_force(found, begins)
    if latest is None:
        return Next(1, 1, "")
    if begins > latest.last:
        return Next(latest.generation + 1, latest.last + 1, latest.digest)
    if begins > latest.first:
        raise Invalid(
            f"archive {latest.generation} is there in part: its range begins before {begins}", code="conflict"
        )
    ends = frozenset(one.last for one in found if one.generation == latest.generation)
    return Next(latest.generation, latest.first, digest_before(found, latest), ends)


def digest_before(found: Sequence[Announced], archive: Announced) -> str:
    """The digest of the archive that ends where this one begins; "" for the first."""
    before = (archive.generation - 1, archive.first - 1)
    return next((one.digest for one in found if (one.generation, one.last) == before), "")
