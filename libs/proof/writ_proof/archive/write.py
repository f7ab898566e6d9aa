"""Write a range of the journal to an archive, and check its signatures meanwhile."""

from collections.abc import Collection
from typing import Protocol

from msgspec import Struct

from writ_contracts import subjects
from writ_contracts.errors import Conflict
from writ_contracts.history.records import Record
from writ_proof.archive.format import FORMAT, SEGMENT_EVENTS, ArchiveManifest, Segment, encode_line
from writ_proof.archive.signatures import Signatures
from writ_proof.bundles import MANIFEST, BundleWriter
from writ_trust.control_events import first_stored
from writ_trust.digests import of_all
from writ_trust.people import Directory


class StoredEvents(Protocol):
    """The stream to be archived."""

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
        """Return the events under `filter` with a sequence above `after`, in order, at most `limit` of them."""


class ArchivePlan(Struct, frozen=True, kw_only=True):
    """The range of an archive, and its generation. `previous`: the digest of the preceding one, "" for the first."""

    generation: int
    first: int
    last: int
    previous: str


class WrittenArchive(Struct, frozen=True, kw_only=True):
    manifest: ArchiveManifest
    bytes: int
    checked: Signatures


async def write(
    journal: StoredEvents,
    writer: BundleWriter,
    plan: ArchivePlan,
    policy_keys: Collection[str],
    people: Directory | None = None,
) -> WrittenArchive:
    """Write all of the range, and the manifest. Raises Conflict where an event of it is missing."""
    signatures, segments, size = Signatures(policy_keys, people), list[Segment](), 0
    for first in range(plan.first, plan.last + 1, SEGMENT_EVENTS):
        last = min(first + SEGMENT_EVENTS - 1, plan.last)
        events = await _read(journal, first, last)
        segments.append(_write_segment(writer, events, signatures))
        size += segments[-1].bytes
    manifest = ArchiveManifest(
        format=FORMAT,
        generation=plan.generation,
        first=plan.first,
        last=plan.last,
        events=plan.last - plan.first + 1,
        previous=plan.previous,
        control=await control_digest(journal, plan.last),
        segments=segments,
        damaged=[problem.sequence for problem in signatures.problems],
    )
    writer.put(MANIFEST, manifest.encoded())
    return WrittenArchive(manifest=manifest, bytes=size, checked=signatures)


async def _read(journal: StoredEvents, first: int, last: int) -> list[Record]:
    events = await journal.read(subjects.JOURNAL, after=first - 1, limit=last - first + 1)
    if [event.sequence for event in events] != list(range(first, last + 1)):
        raise Conflict(f"the journal does not have all events from {first} to {last}")
    return events


def _write_segment(writer: BundleWriter, events: list[Record], signatures: Signatures) -> Segment:
    name = f"events-{events[0].sequence:012}.jsonl"
    with writer.member(name) as sink:
        for event in events:
            signatures.take(event)
            sink.write(encode_line(event))
    return Segment(
        name=name,
        first=events[0].sequence,
        last=events[-1].sequence,
        events=len(events),
        bytes=sink.bytes,
        sha256=sink.sha256,
    )


async def control_digest(journal: StoredEvents, last: int) -> str:
    """Return the digest of all control events stored up to `last`, in the order of their original sequences."""
    events = first_stored(await journal.read(subjects.CONTROL))
    return of_all(one.data for at, one in events.items() if at <= last)
