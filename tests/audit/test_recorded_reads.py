"""A read of others' records that cannot be recorded is refused with its reason within two seconds."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from writ_audit.recorded_reads import RecordedReads
from writ_bus.port import Usage
from writ_contracts import subjects
from writ_contracts.errors import Unreachable
from writ_contracts.signing import Signed
from writ_testing.memory.bus import MemoryBus
from writ_testing.memory.journal import MemoryJournal
from writ_testing.stopwatch import stopwatch

QUERY: dict[str, Any] = {"query": "search"}
DECISION = Signed(payload=msgspec.Raw(b"{}"), key="U" + "A" * 55, signature="x" * 86)


async def recorded(bus: MemoryBus) -> int:
    return len(await bus.journal.read(subjects.record_read("anna")))


async def test_a_read_on_a_full_disk_names_the_cause_at_once_and_is_recorded_later() -> None:
    bus = MemoryBus()
    reads = RecordedReads(bus.journal, time.time)
    bus.broker.disk.stores.clear()
    with stopwatch() as seconds:
        with pytest.raises(Unreachable, match="NATS replies but stores nothing") as refused:
            await reads.record("anna", QUERY, DECISION)
        assert (refused.value.code, seconds() < 2.0) == ("not_stored", True)
    assert await recorded(bus) == 0
    bus.broker.disk.stores.set()
    await reads.record("anna", QUERY, DECISION)
    assert await recorded(bus) == 1


async def test_a_read_waits_while_a_cluster_elects_its_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    async def usage(_: MemoryJournal) -> Usage:
        asked.set()
        return Usage(bytes=0, max_bytes=1, last_sequence=0, messages=0, copies=3)

    asked = asyncio.Event()
    monkeypatch.setattr(MemoryJournal, "usage", usage)
    bus = MemoryBus()
    bus.broker.disk.stores.clear()
    reading = asyncio.create_task(RecordedReads(bus.journal, time.time).record("anna", QUERY, DECISION))
    await asyncio.wait_for(asked.wait(), 10)
    bus.broker.disk.stores.set()
    await asyncio.wait_for(reading, 10)
    assert await recorded(bus) == 1
