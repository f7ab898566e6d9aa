"""Security events of a service are stored or at least counted, even beside hostile events of executors."""

import asyncio
from contextlib import suppress

import pytest
from msgspec import structs

from writ_bus import shared_subjects
from writ_bus.errors import Conflict, Forbidden, Unreachable
from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.agents import SecurityKind
from writ_contracts.history.records import Record
from writ_contracts.wire import encode
from writ_runtime.journal import security_events
from writ_runtime.journal.security_events import SENDER_BURST, SecurityEvents, SecurityFinding, security_event
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus

LINE = subjects.security_event("broken_record")
FOUND = SecurityFinding(kind="broken_record", detail="event 1: x", operation_id="o", principal="p", after=1)


class Installation:
    """A journal, and a service that records in it. `failing`: the error of the next appends."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.counted: list[SecurityKind] = []
        self.failing: list[Exception] = []
        self._append = self.bus.journal.append
        self.security = SecurityEvents(self.bus.journal, lambda: 1.0, self.counted.append)

    async def append(self, entry: Entry) -> int:
        if self.failing:
            raise self.failing.pop()
        return await self._append(entry)

    async def put(self, data: bytes) -> None:
        last = await self.bus.journal.last(LINE)
        await self._append(
            Entry(subject=LINE, data=data, event_id="theirs", filter=LINE, expected=last.sequence if last else 0)
        )

    async def details(self) -> list[str]:
        events = [security_event(record) for record in await self.bus.journal.read(LINE)]
        return [event.detail if event else "" for event in events]


@pytest.fixture
async def installation(monkeypatch: pytest.MonkeyPatch) -> Installation:
    made = Installation()
    monkeypatch.setattr(made.bus.journal, "append", made.append)
    await made.put(b"begin")
    return made


async def test_event_is_recorded_behind_an_unreadable_record(installation: Installation) -> None:
    await installation.put(b"garbage")
    await installation.security.record(FOUND)
    assert await installation.details() == ["", "", FOUND.detail]
    assert installation.counted == ["broken_record"]


async def test_security_event_stored_already_is_counted_and_not_stored_again(installation: Installation) -> None:
    await installation.security.record(FOUND)
    await installation.security.record(FOUND)
    assert await installation.details() == ["", FOUND.detail]
    assert installation.counted == ["broken_record"] * 2


async def test_finding_of_an_earlier_process_is_counted_unless_it_is_stored(installation: Installation) -> None:
    again = structs.replace(FOUND, again=True)
    await installation.security.record(again)
    assert (await installation.details(), installation.counted) == (["", FOUND.detail], ["broken_record"])
    await installation.security.record(again)
    assert (await installation.details(), installation.counted) == (["", FOUND.detail], ["broken_record"])


async def test_another_event_under_its_id_does_not_pass_for_it(installation: Installation) -> None:
    await installation.security.record(FOUND)
    [_, stored] = await installation.bus.journal.read(LINE)
    event = security_event(stored)
    assert event is not None
    other = Installation()
    await other.put(b"begin")
    await other.put(encode(structs.replace(event, detail="nothing to see")))
    await other.security.record(FOUND)
    assert await other.details() == ["", "nothing to see", FOUND.detail]


@pytest.mark.parametrize("error", [Conflict("raced"), Forbidden("no")])
async def test_security_event_that_cannot_be_stored_is_counted_and_stops_nobody(
    installation: Installation, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_subjects, "PATIENCE", 0.1)
    installation.failing = [error] * 1000
    await installation.security.record(FOUND)
    assert (await installation.details(), installation.counted) == ([""], ["broken_record"])


async def test_a_server_that_is_away_is_reported_and_nothing_is_counted_yet(installation: Installation) -> None:
    installation.failing = [Unreachable("away")]
    with pytest.raises(Unreachable):
        await installation.security.record(FOUND)
    assert installation.counted == []


async def test_security_events_beyond_the_rate_are_counted(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security_events, "BURST", 1.0)
    security = SecurityEvents(installation.bus.journal, lambda: 1.0, installation.counted.append)
    running = asyncio.create_task(security.run())
    for number in range(3):
        security.report("broken_record", str(number), None, None)

    async def recorded() -> bool:
        return await installation.details() == ["", "0"] and len(installation.counted) == 3

    await eventually(recorded, what="that one is recorded and all are counted")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_flood_of_one_sender_leaves_room_for_the_findings_about_others(installation: Installation) -> None:
    security = SecurityEvents(installation.bus.journal, lambda: 1.0, installation.counted.append)
    for number in range(1_000):
        security.report("bad_signature", f"flood {number}", None, "mallory")
    security.report("bad_signature", "another", None, "bob")
    security.report("broken_record", "no sender", None, None)
    running = asyncio.create_task(security.run())

    async def recorded() -> bool:
        return not security.waits

    await eventually(recorded, what="the findings")
    subject = subjects.security_event("bad_signature")
    found = [event.detail for one in await installation.bus.journal.read(subject) if (event := security_event(one))]
    assert found == [*(f"flood {number}" for number in range(int(SENDER_BURST))), "another"]
    assert "no sender" in await installation.details()
    assert len(installation.counted) == 1_002, "an alert depends on the count"
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_each_stored_finding_is_read_once_by_each_replica(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(50):
        await installation.put(b"other")
    journal, read = installation.bus.journal, list[int]()

    async def counted(subject: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
        records = await type(journal).read(journal, subject, after=after, limit=limit)
        read.append(len(records))
        return records

    monkeypatch.setattr(journal, "read", counted)
    monkeypatch.setattr(security_events, "PAGE", 20)
    findings = [structs.replace(FOUND, detail=f"event {number}: x", after=number) for number in range(1, 51)]
    for _ in range(2):
        replica = SecurityEvents(journal, lambda: 1.0, installation.counted.append)
        for finding in [*findings, *findings]:  # as when it makes its index again
            await replica.record(finding)
    details = [one for one in await installation.details() if one]
    assert details == [finding.detail for finding in findings]
    assert sum(read) < 10 * len(findings)
