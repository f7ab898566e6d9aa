"""The journal's control events in their first order, including copies stored again (see `CARRIED_FROM`). Pure.

Copies by executors count only as far as they can be checked. A copy of a present event must equal it. The copies
of absent events must be exactly those signed for by the author of the last archive.
"""

from collections.abc import Callable, Mapping, Sequence

from writ_contracts import subjects
from writ_contracts.catalogue.control import JournalArchive
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.history.archives import ARCHIVE
from writ_contracts.history.copied_control_events import CARRIED_FROM, origin
from writ_contracts.history.records import Record
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import decode
from writ_trust.control_events import is_void
from writ_trust.digests import of_all

IsDecided = Callable[[ControlEvent, int], bool]
"""Returns whether policy allowed the event at that sequence."""


def in_order(records: Sequence[Record], is_decided: IsDecided) -> dict[int, Record]:
    """Return each event once, by its first sequence. Raises Untrusted if events are missing or changed."""
    found: dict[int, Record] = {}
    for record in records:
        try:
            at = origin(record.headers, record.sequence)
        except Invalid as error:
            raise Untrusted(str(error)) from error
        if found.setdefault(at, record).data != record.data:
            raise Untrusted(f"event {record.sequence} is not event {at}, as it claims")
    ordered = dict(sorted(found.items()))
    _check(ordered, is_decided)
    return ordered


def _check(ordered: Mapping[int, Record], is_decided: IsDecided) -> None:
    archives = [event for record in ordered.values() if (event := _archive(record, is_decided)) is not None]
    last = max(archives, key=lambda event: int(event.body["last"]), default=None)  # all name the same events
    end = int(last.body["last"]) if last else 0
    named = (one.data for at, one in ordered.items() if at <= end and not is_void(one))
    if last and of_all(named) != last.body["control"]:
        raise Untrusted(f"the control events up to {end} differ from those of archive {last.body['generation']}")
    strange = [at for at, one in ordered.items() if at > end and CARRIED_FROM in one.headers]
    if strange:  # `setdefault` keeps the first, which is the event itself where it is still there
        raise Untrusted(f"event {strange[0]} exists only as a copy, and no archive has it")


def _archive(record: Record, is_decided: IsDecided) -> ControlEvent | None:
    """Return the archive announcement, unless the record is a copy: archives vouch for copies."""
    if record.subject != subjects.control_event(ARCHIVE) or CARRIED_FROM in record.headers:
        return None
    try:
        event = decode(record.data, ControlEvent)
    except Invalid:
        return None
    whole = set(JournalArchive.__struct_fields__) <= set(event.body)
    return event if event.kind == ARCHIVE and whole and is_decided(event, record.sequence) else None
