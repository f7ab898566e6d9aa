"""Reads of the last control event, shared by all starts decided at the same time."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.policy.replica import RULES, files, replica

from writ_bus import tasks
from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.errors import Unreachable
from writ_contracts.history.records import Record
from writ_contracts.signing import Signed
from writ_policy.state.control_reads import ControlReads
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_testing.memory.journal import Disk, MemoryJournal
from writ_trust.statements import VerifiedSignature, verified


class SlowJournal:
    """Takes the present sequence when a read is sent, and answers when the test allows it."""

    def __init__(self) -> None:
        self.sequence = 1
        self.sent: list[asyncio.Future[None]] = []

    async def last(self, filter: str) -> Record | None:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent.append(answered)
        observed = self.sequence
        await answered
        return Record(observed, "writ.journal.control.stop_set", b"", {}, 0.0)


@pytest.fixture
def journal() -> SlowJournal:
    return SlowJournal()


async def turns() -> None:
    """Let the event loop run everything ready."""
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


class CountingJournal(MemoryJournal):
    """Counts policy's requests to the journal for starts; a read of one event takes as long as some turns."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.requests = Counter[str]()
        self.at_least: list[int] = []
        """How many events each read of an operation was said to find at least."""

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None, at_least: int = 1) -> list[Record]:
        if filter.startswith("writ.journal.op."):
            self.requests["read of an operation"] += 1
            self.at_least.append(at_least)
        return await super().read(filter, after=after, limit=limit, at_least=at_least)

    async def last(self, filter: str) -> Record | None:
        self.requests["read of the last control event"] += filter == subjects.CONTROL
        await turns()
        return await super().last(filter)

    async def append_together(self, entries: Sequence[Entry]) -> int:
        self.requests["append"] += 1
        return await super().append_together(entries)


async def test_a_start_costs_one_read_of_the_operation_and_one_append(tmp_path: Path) -> None:
    broker = Broker()
    bus = MemoryBus(broker)
    bus.journal = counting = CountingJournal(broker.disk)
    async with replica(bus, MemoryBus(broker), files(tmp_path)) as asking:
        requested = [asking.subject() for _ in range(16)]
        for subject in requested:
            await asking.record(subject)
        counting.requests.clear()
        await asking.grant(requested[0])
        assert counting.requests == {"read of an operation": 1, "read of the last control event": 1, "append": 1}
        counting.requests.clear()
        await asyncio.gather(*map(asking.grant, requested[1:]))
        assert counting.requests["read of an operation"] == counting.requests["append"] == 15
        assert counting.requests["read of the last control event"] <= 4


async def test_start_reports_one_event_of_a_read_and_two_of_a_change(tmp_path: Path) -> None:
    broker = Broker()
    bus = MemoryBus(broker)
    bus.journal = counting = CountingJournal(broker.disk)
    async with replica(bus, MemoryBus(broker), files(tmp_path)) as asking:
        asking.files.policy({**RULES[0], "operations": ["service_restart", "service_status"]})
        for operation in ("service_restart", "service_status"):
            assert (await asking.granted(asking.subject(operation))).grant is not None
    assert counting.at_least == [2, 1]


async def test_a_claim_is_verified_while_both_reads_of_its_start_are_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    broker = Broker()
    bus = MemoryBus(broker)

    class NotingJournal(MemoryJournal):
        async def read(
            self, filter: str, *, after: int = 0, limit: int | None = None, at_least: int = 1
        ) -> list[Record]:
            if filter.startswith("writ.journal.op."):
                steps.append("operation read")
                await turns()
            return await super().read(filter, after=after, limit=limit, at_least=at_least)

        async def last(self, filter: str) -> Record | None:
            steps.append("control read")
            await turns()
            return await super().last(filter)

    def noted(claim: Signed) -> VerifiedSignature:
        steps.append("verified")
        return verified(claim)

    monkeypatch.setattr("writ_policy.decisions.grants.verified", noted)
    bus.journal = NotingJournal(broker.disk)
    async with replica(bus, MemoryBus(broker), files(tmp_path)) as asking:
        subject = asking.subject()
        await asking.record(subject)
        steps.clear()
        assert (await asking.granted_as_recorded(subject)).grant is not None
    assert steps == ["control read", "operation read", "verified"]
