"""Reads of the few events under one filter, without a search through the journal.

nats-server finds the next match of a filter with `>` block by block once a stream has more than 65,536 subjects. After
the last match it goes on to the end of the stream: it reads every block from the disk (4 s for each 6 GB), keeps what
it has read in memory, and replies to nobody meanwhile. So it is never asked for more events than there are, nor for
the next of events which may lie far apart: each event names the one before it by the sequence its writer expected,
which the server has checked.
"""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from writ_bus.grammar import matches
from writ_contracts.records import Record

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_UNDER = "Nats-Expected-Last-Subject-Sequence-Subject"
MOST = 256
"""Events that are fetched one by one; for more, the server searches the journal."""


class Reads(Protocol):
    """What a journal's server is asked."""

    async def page(self, filter: str, after: int, size: int) -> tuple[list[Record], int]:
        """Return the next events, and how many follow them."""

    async def latest(self, filter: str) -> list[Record]:
        """Return the last event of each subject."""

    async def at(self, sequence: int) -> Record | None:
        """Return the event with this sequence."""


async def next_events(reads: Reads, filter: str, after: int, size: int) -> tuple[list[Record], int]:
    """Return the next events, and how many follow them. The server searches at most up to the last of them."""
    found, more = await reads.page(filter, after, 1)
    if found and more and size > 1:
        page, more = await reads.page(filter, found[-1].sequence, min(more, size - 1))
        found += page
    return found, more


async def line(reads: Reads, filter: str, after: int) -> list[Record] | None:
    """Return all events after `after`, found from the last one of each subject to the first. None if they have to be
    searched for: many, or without their predecessor's sequence.
    """
    found = dict[int, Record]()
    new = [record for record in await reads.latest(filter) if record.sequence > after]
    while new:
        if not all(matches(filter, record.subject) for record in new):  # the reply was a former leader's
            return None
        found |= {record.sequence: record for record in new}
        before = _predecessors(new, filter)
        if before is None or len(found) > MOST:
            return None
        missing = [sequence for sequence in before if sequence > after and sequence not in found]
        # What is not there was removed after its archiving, with all before it.
        new = [record for record in await asyncio.gather(*map(reads.at, missing)) if record is not None]
    return [found[sequence] for sequence in sorted(found)]


def _predecessors(records: Iterable[Record], filter: str) -> set[int] | None:
    """Return the sequences before these, as their writers expected them; None if one does not tell."""
    before = set[int]()
    for record in records:
        expected = record.headers.get(EXPECTED, "")
        if record.headers.get(EXPECTED_UNDER) not in (filter, record.subject) or not expected.isdigit():
            return None
        before.add(int(expected))
    return before
