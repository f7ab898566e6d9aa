"""A read of others' records that cannot be recorded is refused with its reason within two seconds."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from writ_audit.read_quota import ReadQuota
from writ_audit.recorded_reads import RecordedReads
from writ_bus.port import Usage
from writ_contracts import subjects
from writ_contracts.errors import Full, Unreachable
from writ_contracts.signing import Signed
from writ_runtime.journal.watched_bus import WatchedBus
from writ_testing.memory.bus import MemoryBus
from writ_testing.memory.journal import MemoryJournal
from writ_testing.stopwatch import stopwatch

QUERY: dict[str, Any] = {"query": "search"}
DECISION = Signed(payload=msgspec.Raw(b"{}"), key="U" + "A" * 55, signature="x" * 86)


def recorded_reads(bus: MemoryBus | WatchedBus, share: float = 0.1) -> RecordedReads:
    return RecordedReads(bus.journal, time.time, ReadQuota(share, bus.journal.usage))


@asynccontextmanager
async def watched(bus: MemoryBus) -> AsyncIterator[WatchedBus]:
    """Watch the writes to the bus within the block, as the service does."""
    result = WatchedBus(bus, time.time)
    watching = asyncio.create_task(result.watch())
    try:
        yield result
    finally:
        watching.cancel()


async def recorded(bus: MemoryBus) -> int:
    return len(await bus.journal.read(subjects.record_read("anna")))


async def test_a_read_on_a_full_disk_names_the_cause_at_once_and_is_recorded_later() -> None:
    bus = MemoryBus()
    async with watched(bus) as journal:
        reads = recorded_reads(journal)
        bus.broker.disk.stores.clear()
        with stopwatch() as seconds:
            with pytest.raises(Unreachable, match=r"cannot be recorded.* NATS replies but stores nothing") as refused:
                await reads.record("anna", QUERY, DECISION)
            assert (refused.value.code, seconds() < 2.0) == ("not_stored", True)
        assert await recorded(bus) == 0
        assert "stores nothing in WRIT_JOURNAL" in (journal.storage_problem or "")
        bus.broker.disk.stores.set()
        await reads.record("anna", QUERY, DECISION)
        assert await recorded(bus) == 1
        assert journal.storage_problem is None


async def test_a_read_waits_while_a_cluster_elects_its_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    async def usage(_: MemoryJournal) -> Usage:
        asked.release()
        return Usage(bytes=0, max_bytes=1, last_sequence=0, messages=0, copies=3)

    asked = asyncio.Semaphore(0)
    monkeypatch.setattr(MemoryJournal, "usage", usage)
    bus = MemoryBus()
    bus.broker.disk.stores.clear()
    async with watched(bus) as journal:
        reading = asyncio.create_task(recorded_reads(journal).record("anna", QUERY, DECISION))
        for _ in range(2):  # of the quota, and of the watch
            await asyncio.wait_for(asked.acquire(), 10)
        bus.broker.disk.stores.set()
        await asyncio.wait_for(reading, 10)
    assert await recorded(bus) == 1


class Fill:
    """A journal of 1,000,000 bytes with so many of them used, and a clock."""

    def __init__(self, used: int) -> None:
        self.used = used
        self.now = 100.0
        self.requests = 0
        self.quota = ReadQuota(0.1, self.usage, lambda: self.now)

    async def usage(self) -> Usage:
        self.requests += 1
        return Usage(bytes=self.used, max_bytes=1_000_000, last_sequence=0, messages=0)

    async def read(self, count: int, principal: str = "anna", size: int = 1_000) -> None:
        for _ in range(count):
            await self.quota.check(principal)
            self.quota.add(principal, size)


async def test_reads_of_one_principal_take_a_share_of_the_free_journal_within_an_hour() -> None:
    journal = Fill(600_000)
    await journal.read(41)
    with pytest.raises(Full, match=r"principal anna has 41000 bytes of the journal, .* at most 40000 are allowed"):
        await journal.read(1)
    await journal.read(41, "bob")  # others have a share of their own
    journal.now += 3500
    with pytest.raises(Full):
        await journal.read(1)
    journal.now += 200
    await journal.read(41)
    assert journal.requests <= 4


async def test_reads_are_not_bounded_below_half_of_the_journal() -> None:
    journal = Fill(499_999)
    await journal.read(1_000)
    journal.used, journal.now = 500_001, journal.now + 10  # its size is known for some seconds
    with pytest.raises(Full):
        await journal.read(1)


async def test_read_beyond_the_share_is_refused_and_not_recorded() -> None:
    bus = MemoryBus()
    reads = recorded_reads(bus, share=1e-12)
    await reads.record("anna", QUERY, DECISION)
    bus.broker.disk.max_bytes = 2 * bus.broker.disk.bytes - 1
    with pytest.raises(Full, match="WRIT_JOURNAL_SHARE"):
        await reads.record("anna", {**QUERY, "principal": "bob"}, DECISION)
    assert await recorded(bus) == 1
    await reads.record("anna", QUERY, DECISION)  # the one on record
