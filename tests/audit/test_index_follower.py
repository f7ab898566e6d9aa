"""Following the journal: nothing missed, and an index of another journal is never used."""

import asyncio
import re
import sqlite3
from pathlib import Path

import pytest
from msgspec import structs
from tests.architecture.tree import ROOT
from tests.audit.history import History
from tests.audit.replica import kinds, policy, replica, search, trace

from writ_audit import index_follower, reports
from writ_audit.metrics import metrics
from writ_audit.service import Audit
from writ_bus.errors import Unreachable
from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.agents import ReportMessage, SecurityReport
from writ_contracts.journal import Dispatched
from writ_contracts.wire import decode, decode_event, encode
from writ_runtime.journal.security_events import security_event
from writ_runtime.metrics import Metrics
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

SECONDS = 30.0


async def all_of(bus: MemoryBus, count: int) -> list[str]:
    """Wait until a search finds so many; their operation ids."""
    async with asyncio.timeout(SECONDS):
        while len(rows := (await search(bus, "alice", limit=1000, principal="alice")).rows) != count:
            pass  # asking again waits for the index
    return [row.operation_id for row in rows]


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


async def test_an_index_that_was_lost_is_made_again(bus: MemoryBus, tmp_path: Path) -> None:
    history = History(bus)
    ids = [await history.carried_out("alice", f"k{number}") for number in range(30)]
    async with replica(bus, tmp_path):
        assert await all_of(bus, 30) == ids[::-1]
    (tmp_path / "audit.sqlite").unlink()
    async with replica(bus, tmp_path):
        assert await all_of(bus, 30) == ids[::-1]


async def test_indexed_events_are_counted_by_kind_with_their_volume(bus: MemoryBus, tmp_path: Path) -> None:
    for number in range(3):
        await History(bus).carried_out("alice", f"k{number}")
    stored = await bus.journal.read("writ.journal.>")
    measured = metrics()
    async with replica(bus, tmp_path, measured=measured):
        await all_of(bus, 3)
        lines = measured.exposition()[0].decode().splitlines()
        reported = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}
    assert reported['writ_audit_events_total{kind="finished"}'] == 3
    assert reported["writ_audit_bytes_total"] == sum(len(record.data) for record in stored)
    assert reported["writ_audit_position"] == stored[-1].sequence
    assert reported["writ_audit_lag_events"] == 0
    assert reported['writ_audit_index_reads_total{result="current"}'] >= 1


async def test_restarted_follower_continues_at_its_position(bus: MemoryBus, tmp_path: Path) -> None:
    history = History(bus)
    await history.carried_out("alice", "k1")
    async with replica(bus, tmp_path):
        await all_of(bus, 1)
    await history.carried_out("alice", "k2")
    async with replica(bus, tmp_path):
        await all_of(bus, 2)


async def not_ready(audit: Audit) -> str:
    """Return the text of a failing journal check, once there is one."""

    async def problem() -> str | None:
        return await audit.checks()["journal"]()

    return await eventually(problem, what="that the journal is another")


async def test_an_index_of_another_journal_is_not_ready_and_takes_nothing_from_it(
    bus: MemoryBus, tmp_path: Path
) -> None:
    history = History(bus)
    for number in range(5):
        await history.carried_out("alice", f"old{number}")
    async with replica(bus, tmp_path):
        await all_of(bus, 5)
    other = MemoryBus()
    await History(other).carried_out("alice", "new")
    async with replica(other, tmp_path) as audit:
        assert "was the journal restored" in await not_ready(audit)
        assert "was the journal restored" in (await audit.checks()["index"]() or "")
    async with replica(bus, tmp_path):  # what it knew is still there
        await all_of(bus, 5)


async def test_replaced_journal_is_noticed_after_the_index_was_deleted_as_the_runbook_says(
    bus: MemoryBus, tmp_path: Path
) -> None:
    [deleted] = re.findall("delete[^`]*`state/audit/([^`]*)`", (ROOT / "docs/runbooks.md").read_text())
    history = History(bus)
    for number in range(5):
        await history.carried_out("alice", f"old{number}")
    async with replica(bus, tmp_path):
        await all_of(bus, 5)
    for path in tmp_path.glob(deleted or "*"):
        path.unlink()
    assert not (tmp_path / "audit.sqlite").exists()
    other = MemoryBus()
    await History(other).carried_out("alice", "new")
    async with replica(other, tmp_path) as audit:
        assert "was the journal restored" in await not_ready(audit)


async def test_a_journal_that_is_given_up_as_lost_makes_room_for_another(bus: MemoryBus, tmp_path: Path) -> None:
    history = History(bus)
    for number in range(5):
        await history.carried_out("alice", f"old{number}")
    async with replica(bus, tmp_path):
        await all_of(bus, 5)
    lost, other = len(bus.broker.disk.records), MemoryBus()
    operation = await History(other).carried_out("alice", "new")
    async with replica(other, tmp_path, journal_lost=lost):
        assert await all_of(other, 1) == [operation]


async def test_a_longer_journal_that_began_differently_is_noticed(bus: MemoryBus, tmp_path: Path) -> None:
    await History(bus).carried_out("alice", "old")
    async with replica(bus, tmp_path):
        await all_of(bus, 1)
    other = MemoryBus()
    history = History(other)
    for number in range(3):
        await history.carried_out("alice", f"new{number}")
    async with replica(other, tmp_path) as audit:
        assert "has this sequence now" in await not_ready(audit)


async def test_a_journal_that_is_replaced_while_it_runs_is_a_security_event(
    bus: MemoryBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_follower, "CHECK_EVERY", 0.05)
    monkeypatch.setattr(index_follower, "RETRY_AFTER", 0.01)
    history = History(bus)
    for number in range(5):
        await history.carried_out("alice", f"old{number}")
    async with replica(bus, tmp_path) as audit:
        await all_of(bus, 5)
        bus.broker.disk.records.clear()
        await History(bus).requested("alice", "new")
        assert "was the journal restored" in await not_ready(audit)

        async def event_is_recorded() -> bool:
            records = await bus.journal.read(subjects.security_event("journal_replaced"))
            return [event.detail[:17] for one in records if (event := security_event(one))] == ["reported by audit"]

        await eventually(event_is_recorded, what="the event, with no executor there")


async def test_an_index_damaged_while_it_runs_is_made_again(bus: MemoryBus, tmp_path: Path) -> None:
    history = History(bus)
    await history.carried_out("alice", "k1")
    async with replica(bus, tmp_path):
        await all_of(bus, 1)
        with sqlite3.connect(tmp_path / "audit.sqlite") as connection:
            connection.execute("DROP TABLE events")
        connection.close()
        await history.carried_out("alice", "k2")
        await all_of(bus, 2)


async def test_index_is_complete_after_an_outage_of_the_server(tmp_path: Path) -> None:
    broker = Broker()
    bus = MemoryBus(broker)
    history = History(bus)
    async with replica(bus, tmp_path):
        await history.carried_out("alice", "k1")
        await all_of(bus, 1)
        broker.stop()
        broker.start()
        operation = await history.carried_out("alice", "k2")
        assert kinds(await trace(bus, "alice", operation_id=operation))[-1] == "finished"


async def test_a_record_that_cannot_be_read_stops_nothing(bus: MemoryBus, tmp_path: Path) -> None:
    history = History(bus)
    async with replica(bus, tmp_path) as audit:
        await history.raw("writ.journal.op.alice.nonsense.x", b"\x00\xff", "r1")
        await history.raw("writ.journal.odd", b"{}", "r2")
        operation = await history.carried_out("alice", "k1")
        assert await all_of(bus, 1) == [operation]
        assert await audit.checks()["index"]() is None
        assert await audit.checks()["journal"]() is None


async def test_two_replicas_share_the_queries_and_answer_alike(bus: MemoryBus, tmp_path: Path) -> None:
    scripted = policy("deny")
    await scripted.serve(bus)
    history = History(bus)
    async with replica(bus, tmp_path / "one"), replica(bus, tmp_path / "two"):
        operation = await history.carried_out("alice", "k1")
        traces = [await trace(bus, "alice", operation_id=operation) for _ in range(4)]
    assert all(kinds(one) == ["requested", "dispatched", "granted", "finished"] for one in traces)


def alarms(measured: Metrics, kind: str) -> float:
    """Return the count of findings of this kind, which the alert uses."""
    lines = measured.exposition()[0].decode().splitlines()
    [value] = [
        line.rpartition(" ")[2] for line in lines if line.startswith(f'writ_security_events_total{{kind="{kind}"')
    ]
    return float(value)


async def test_garbage_among_the_security_events_stops_nothing_and_what_is_found_is_counted(
    bus: MemoryBus, tmp_path: Path
) -> None:
    history, measured = History(bus), metrics()
    operation = await history.carried_out("alice", "k1")
    dispatched = (await bus.journal.read(subjects.JOURNAL))[1]
    event = decode(dispatched.data, Dispatched)
    await history.append("alice", operation, structs.replace(event, id="again"))
    line = subjects.security_event("broken_record")
    await history.raw(line, b"garbage", "r1")
    async with replica(bus, tmp_path, measured=measured) as audit:
        assert await all_of(bus, 1) == [operation]
        assert await audit.checks()["index"]() is None
    found = [security_event(one) for one in await bus.journal.read(line)]
    assert [one and one.operation_id for one in found] == [None, operation]
    assert alarms(measured, "broken_record") == 1


async def break_record(history: History, bus: MemoryBus, key: str) -> None:
    """Record an operation that is dispatched twice."""
    operation = await history.carried_out("alice", key)
    records = await bus.journal.read(subjects.JOURNAL)
    [event] = [
        each for one in records if isinstance(each := decode_event(one.data), Dispatched) and operation in one.subject
    ]
    await history.append("alice", operation, structs.replace(event, id=f"again {key}"))


async def test_rebuilt_index_counts_what_is_found_since_and_nothing_that_was_recorded_before(
    bus: MemoryBus, tmp_path: Path
) -> None:
    """An upgrade that rebuilds the index would set off the alert for each finding of former years."""
    history, line = History(bus), subjects.security_event("broken_record")

    async def counted(operations: int, damage: str = "") -> float:
        measured = metrics()
        async with replica(bus, tmp_path, measured=measured) as audit:
            await all_of(bus, operations)
            if damage:
                with sqlite3.connect(tmp_path / "audit.sqlite") as connection:
                    connection.execute(damage)
                connection.close()
                await break_record(history, bus, "later")
                await all_of(bus, operations + 1)
            await eventually(lambda: marked(audit), what="the mark of all events")
        return alarms(measured, "broken_record")

    async def marked(_: Audit) -> bool:
        last = await bus.journal.last(subjects.JOURNAL)
        return last is not None and f'"sequence":{last.sequence}' in (tmp_path / "journal.json").read_text()

    await break_record(history, bus, "first")
    assert await counted(1) == 1
    (tmp_path / "audit.sqlite").unlink()
    await break_record(history, bus, "second")
    assert await counted(2) == 1
    assert await counted(2, "DROP TABLE events") == 1
    assert len(await bus.journal.read(line)) == 3


async def test_rebuilt_index_reports_no_irregular_events_twice(bus: MemoryBus, tmp_path: Path) -> None:
    history = History(bus)
    await history.carried_out("alice", "k1")
    async with replica(bus, tmp_path):
        await all_of(bus, 1)
        with sqlite3.connect(tmp_path / "audit.sqlite") as connection:
            connection.execute("DROP TABLE events")
        connection.close()
        await history.carried_out("alice", "k2")
        await all_of(bus, 2)
    assert await bus.journal.read(subjects.SECURITY) == []


async def test_a_report_is_recorded_also_behind_garbage_and_after_the_server_was_away(
    bus: MemoryBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "PATIENCE", 0.0)
    history, measured, append, away = History(bus), metrics(), bus.journal.append, [Unreachable("away")]
    line = subjects.security_event("forged_grant")
    await history.raw(line, b"garbage", "r1")

    async def unreachable_once(entry: Entry) -> int:
        if away:
            raise away.pop()
        return await append(entry)

    monkeypatch.setattr(bus.journal, "append", unreachable_once)
    report = sign(
        Key(generate_seed()), SecurityReport(kind="forged_grant", detail="a test", pool="local-a", instance="one")
    )
    async with replica(bus, tmp_path, measured=measured):
        await bus.publish(subjects.report("local-a"), encode(ReportMessage(report=report)))

        async def recorded() -> bool:
            found = [security_event(one) for one in await bus.journal.read(line)]
            return [one and one.report for one in found] == [None, report]

        await eventually(recorded, what="the report in the journal")
    assert alarms(measured, "forged_grant") == 1
