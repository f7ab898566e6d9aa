"""Reads of the last control event, shared by the starts that are decided at the same time."""

import asyncio

import pytest

from writ_bus import tasks
from writ_contracts.errors import Unreachable
from writ_contracts.records import Record
from writ_policy.state.control_reads import ControlReads


class SlowJournal:
    """Takes the present sequence when a read is sent, and answers when told."""

    def __init__(self) -> None:
        self.sequence = 1
        self.sent: list[asyncio.Future[None]] = []

    async def last(self, filter: str) -> Record | None:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent.append(answered)
        seen = self.sequence
        await answered
        return Record(seen, "writ.journal.control.stop_set", b"", {}, 0.0)


@pytest.fixture
def journal() -> SlowJournal:
    return SlowJournal()


async def turns() -> None:
    """Let the event loop do everything that is ready."""
    for _ in range(8):
        await asyncio.sleep(0)


async def test_control_reads_of_the_same_moment_are_one(journal: SlowJournal) -> None:
    reads = ControlReads(journal)  # type: ignore[arg-type]
    waiting = [reads.begin() for _ in range(20)]
    await turns()
    assert len(journal.sent) == 1
    journal.sent[0].set_result(None)
    assert await asyncio.gather(*waiting) == [1] * 20


async def test_a_control_event_stored_before_a_claim_counts_for_it(journal: SlowJournal) -> None:
    reads = ControlReads(journal)  # type: ignore[arg-type]
    earlier = reads.begin()
    await turns()
    journal.sequence = 7  # the read under way was sent before, and does not have it
    later, also_later = reads.begin(), reads.begin()
    await turns()
    assert len(journal.sent) == 1
    journal.sent[0].set_result(None)
    await turns()
    journal.sent[1].set_result(None)
    assert [await earlier, await later, await also_later] == [1, 7, 7]
    assert len(journal.sent) == 2


async def test_a_control_read_that_fails_fails_for_its_callers_alone(journal: SlowJournal) -> None:
    reads = ControlReads(journal)  # type: ignore[arg-type]
    failing = reads.begin()
    await turns()
    following = reads.begin()
    journal.sent[0].set_exception(Unreachable("no leader"))
    await turns()
    journal.sent[1].set_result(None)
    with pytest.raises(Unreachable):
        await failing
    assert await following == 1


async def test_a_caller_that_gives_up_takes_no_control_read_from_the_others(journal: SlowJournal) -> None:
    reads = ControlReads(journal)  # type: ignore[arg-type]
    impatient = tasks.start(shielded(reads), "impatient")
    patient = tasks.start(shielded(reads), "patient")
    await turns()
    impatient.cancel()
    await turns()
    journal.sent[0].set_result(None)
    assert await patient == 1


async def shielded(reads: ControlReads) -> int:
    return await asyncio.shield(reads.begin())
