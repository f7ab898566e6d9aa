"""Events that audit receives again while it rebuilds its index."""

import sqlite3
from pathlib import Path

import pytest
from tests.audit.history import History
from tests.audit.replica import replica
from tests.audit.test_index_follower import all_of

from writ_audit.decision_samples import DecisionSamples
from writ_contracts.history.records import Record
from writ_testing.memory.bus import MemoryBus


async def test_events_of_a_rebuild_are_known_to_have_been_received_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, received = MemoryBus(), list[tuple[int, bool]]()

    def offer(_: DecisionSamples, record: Record, again: bool) -> None:
        received.append((record.sequence, again))

    monkeypatch.setattr(DecisionSamples, "offer", offer)
    history = History(bus)
    await history.carried_out("alice", "k1")
    async with replica(bus, tmp_path):
        await all_of(bus, 1)
        await history.carried_out("alice", "k2")
        await all_of(bus, 2)
        with sqlite3.connect(tmp_path / "audit.sqlite") as connection:
            connection.execute("DROP TABLE events")
        connection.close()
        await history.carried_out("alice", "k3")
        await all_of(bus, 3)
    (tmp_path / "audit.sqlite").unlink()
    async with replica(bus, tmp_path):
        await all_of(bus, 3)
    last = max(sequence for sequence, _ in received)
    firsts = [sequence for sequence, again in received if not again]
    assert firsts == [*range(1, last + 1)]
    assert len(received) >= 2 * last + 8, "two rebuilds, of eight and of all events"
