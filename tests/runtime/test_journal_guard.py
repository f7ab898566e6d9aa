"""A replaced journal is noticed, at once and after a restart; a lagging copy is no alarm."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from writ_bus.port import Entry, Usage
from writ_contracts import subjects
from writ_contracts.errors import ConfigError
from writ_contracts.history.records import Record
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import encode
from writ_runtime.files.state_file import StateFile
from writ_runtime.journal import journal_guard
from writ_runtime.journal.journal_guard import CONFIRMED, NOTHING, JournalGuard, JournalMark
from writ_runtime.metrics import Metrics
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus


class Watched:
    """A journal in memory, and its watching services, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.json"
        self.broker = Broker()
        self.bus = MemoryBus(self.broker)
        self.usage = self.bus.journal.usage
        self.alarms: list[str] = []

    async def append(self, number: int) -> None:
        line = f"writ.journal.security.k{number}"
        data = str(number).encode()
        await self.bus.journal.append(Entry(subject=line, data=data, event_id=f"e{number}", filter=line, expected=0))

    def guard(self, lost: int = 0, acknowledged: Mapping[int, str] = NOTHING, **more: Any) -> JournalGuard:
        file, known = StateFile(self.path, JournalMark), lambda: acknowledged
        alarm = self.alarms.append
        return JournalGuard(self.bus.journal, Metrics(()), alarm, file=file, lost=lost, acknowledged=known, **more)


@pytest.fixture
async def watched(tmp_path: Path) -> Watched:
    made = Watched(tmp_path)
    for number in range(3):
        await made.append(number)
    await made.guard().compare()
    return made


async def test_the_same_journal_is_recognised_also_as_it_grows(watched: Watched) -> None:
    guard = watched.guard()
    for number in range(3, 6):
        await guard.compare()
        assert guard.problem is None
        await watched.append(number)
    assert guard.mark.sequence == 5
    assert watched.alarms == []


async def test_a_shortened_journal_is_noticed_at_the_first_read_after_a_restart(watched: Watched) -> None:
    del watched.broker.disk.records[1:]
    guard = watched.guard()
    assert await guard.compare()
    assert "ends at 1" in str(guard.problem)


async def test_the_same_bytes_stored_again_are_another_event(watched: Watched) -> None:
    records = watched.broker.disk.records
    records[2] = structs.replace(records[2], time=records[2].time + 1.0)
    guard = watched.guard()
    assert await guard.compare()
    assert "has this sequence now" in str(guard.problem)


async def test_another_journal_is_one_alarm_once_it_is_certain(watched: Watched) -> None:
    del watched.broker.disk.records[1:]
    guard = watched.guard()
    for _ in range(CONFIRMED - 1):
        await guard.compare()
    assert watched.alarms == []
    for _ in range(3):
        await guard.compare()
    assert watched.alarms == [guard.problem]


async def test_a_copy_that_was_behind_for_a_moment_is_no_alarm(watched: Watched) -> None:
    guard, records = watched.guard(), watched.broker.disk.records
    missing = records.pop()
    await guard.compare()
    assert "was the journal restored" in str(guard.problem)
    records.append(missing)
    await guard.compare()
    assert guard.problem is None
    assert watched.alarms == []


async def test_another_journal_is_never_marked_as_the_known_one(watched: Watched) -> None:
    del watched.broker.disk.records[1:]
    for _ in range(3):
        guard = watched.guard()
        for _ in range(2 * CONFIRMED):
            await guard.compare()
            guard.read(watched.broker.disk.records[0])
        assert guard.problem is not None


async def test_loss_accepted_by_an_operator_is_no_alarm_and_the_new_journal_counts(watched: Watched) -> None:
    del watched.broker.disk.records[1:]
    with_loss = watched.guard(lost=3)
    assert await with_loss.compare()
    assert with_loss.problem is None
    again = watched.guard()
    assert not await again.compare()
    assert again.mark.sequence == 1


def erase(monkeypatch: pytest.MonkeyPatch, watched: Watched, events: Mapping[str, int]) -> None:
    """Let the journal in memory report what NATS reports once it has removed events."""

    async def of_what_is_left() -> Usage:
        whole = await watched.usage()
        return structs.replace(whole, **{**events, "messages": whole.messages + events["messages"]})

    monkeypatch.setattr(watched.bus.journal, "usage", of_what_is_left)


IN_THE_MIDDLE = {"messages": -1}
AT_THE_BEGINNING = {"messages": -1, "first_sequence": 2}


@pytest.mark.parametrize("events", [IN_THE_MIDDLE, AT_THE_BEGINNING], ids=["in the middle", "at the beginning"])
async def test_an_event_that_was_erased_is_missed_also_by_a_service_that_knows_no_event(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, events: Mapping[str, int]
) -> None:
    erase(monkeypatch, watched, events)
    for known in (True, False):
        if not known:
            watched.path.unlink()
        guard = watched.guard()
        for _ in range(CONFIRMED):
            assert await guard.compare()
        assert guard.problem == "1 event up to 3: neither in the journal nor in an archive"
        assert watched.alarms.pop() == guard.problem


@pytest.mark.parametrize("events", [IN_THE_MIDDLE, AT_THE_BEGINNING], ids=["in the middle", "at the beginning"])
async def test_erased_events_that_an_operator_accepted_are_no_alarm_later_and_further_ones_are(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, events: Mapping[str, int]
) -> None:
    erase(monkeypatch, watched, events)
    assert await watched.guard(lost=3).compare()
    later = watched.guard()
    for number in (3, 4):
        await watched.append(number)
        assert not await later.compare()
    erase(monkeypatch, watched, {**events, "messages": -2})
    assert await watched.guard().compare()


async def test_archive_behind_accepted_events_ends_their_acceptance(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    erase(monkeypatch, watched, IN_THE_MIDDLE)
    assert await watched.guard(lost=3).compare()
    erase(monkeypatch, watched, {"messages": 0})  # as after an archive that ends behind them
    later = watched.guard()
    await watched.append(4)
    assert not await later.compare()
    assert later.mark.missing == 0
    erase(monkeypatch, watched, IN_THE_MIDDLE)
    assert await watched.guard().compare()


async def test_events_of_an_archive_that_counts_are_not_missed(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable: dict[str, Any] = {"generation": "x"}
    archive: dict[str, Any] = {"generation": 1, "first": 1, "last": 2, "digest": "0" * 64}
    for number, body in enumerate((unreadable, archive)):
        event = ControlEvent(
            id=f"c{number}",
            at=1.0,
            correlation_id="c",
            kind="journal_archive",
            principal="boss",
            operation_id="a" * 26,
            body=body,
        )
        line = subjects.control_event("journal_archive")
        entry = Entry(subject=line, data=encode(event), event_id=event.id, filter=line, expected=4 * number)
        await watched.bus.journal.append(entry)
    erase(monkeypatch, watched, {"messages": -2, "first_sequence": 3})
    assert not await watched.guard().compare()
    assert not await watched.guard(counts=lambda event, sequence: (event.id, sequence) == ("c1", 5)).compare()
    assert await watched.guard(counts=lambda _event, _sequence: False).compare()
    erase(monkeypatch, watched, {"messages": -3, "first_sequence": 4})
    assert await watched.guard().compare()


def test_mark_of_a_whole_journal_can_be_read_by_earlier_releases() -> None:
    mark = JournalMark(created="now", sequence=3, digest="d")
    assert encode(mark) == b'{"created":"now","sequence":3,"digest":"d"}'


def test_damaged_journal_mark_is_an_error(watched: Watched) -> None:
    watched.path.write_text("{")
    with pytest.raises(ConfigError, match=r"journal\.json"):
        watched.guard()


async def test_event_absent_from_the_journal_is_detected_and_not_kept_as_a_position(
    watched: Watched,
) -> None:
    guard = watched.guard()
    await guard.compare()
    guard.read(Record(4, "writ.journal.control.stop_lift", b"made up", {}, 1.0))
    for _ in range(CONFIRMED + 1):
        assert await guard.compare()
        assert "event 4 was read" in str(guard.problem)
    assert (len(watched.alarms), guard.mark.sequence) == (1, 3)
    await watched.append(3)
    assert await guard.compare()
    assert "another event, or none, has this sequence" in str(guard.problem)
    assert not await watched.guard().compare()


async def misled(guard: JournalGuard) -> bool:
    """Return whether a reader may begin again after the confirmations."""
    for _ in range(CONFIRMED):
        assert not guard.misled.is_set()
        assert await guard.compare()
    return guard.misled.is_set()


async def test_reader_of_a_made_up_event_may_begin_again_once_the_journal_is_known_to_be_the_same(
    watched: Watched,
) -> None:
    guard = watched.guard(acknowledged={2: "e1", 3: "e2"})
    await guard.compare()
    guard.read(Record(4, "writ.journal.control.stop_lift", b"made up", {}, 1.0))
    assert await misled(guard)
    guard.begin_again()
    assert (guard.problem, guard.misled.is_set()) == (None, False)
    await watched.append(3)
    guard.read(watched.broker.disk.records[3])
    assert not await guard.compare()
    guard.contradict(4)
    assert await misled(guard)


async def test_reader_of_a_journal_that_was_cut_does_not_begin_again(watched: Watched) -> None:
    guard = watched.guard()
    await guard.compare()
    guard.read(Record(4, "writ.journal.control.stop_lift", b"lost", {}, 1.0))
    del watched.broker.disk.records[2:]
    assert not await misled(guard)


async def test_reader_does_not_begin_again_where_the_journal_lacks_what_it_acknowledged(watched: Watched) -> None:
    guard = watched.guard(acknowledged={4: "e3"})
    await guard.compare()
    guard.read(Record(4, "writ.journal.control.stop_lift", b"lost a moment after it was stored", {}, 1.0))
    assert not await misled(guard)


@pytest.mark.parametrize("page", [1, 1_000])
@pytest.mark.parametrize("lost", [4, 5])
async def test_reader_does_not_begin_again_where_others_took_the_place_of_what_was_acknowledged(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, lost: int, page: int
) -> None:
    """The journal loses its latest events, and is as long as before when that is noticed."""
    monkeypatch.setattr(journal_guard, "PAGE", page)
    guard, records = watched.guard(acknowledged={4: "e3", 5: "e4"}), watched.broker.disk.records
    await guard.compare()
    for number in (3, 4):
        await watched.append(number)
    guard.read(records[4])
    del records[lost - 1 :]
    for number in range(100, 103):
        await watched.append(number)
    guard.contradict(5)
    assert not await misled(guard)
    assert guard.problem is not None


@pytest.mark.parametrize("page", [1, 1_000])
async def test_reader_begins_again_where_the_journal_has_all_that_it_acknowledged(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(journal_guard, "PAGE", page)
    guard = watched.guard(acknowledged={4: "e3", 6: "e5"})
    await guard.compare()
    for number in range(3, 7):
        await watched.append(number)
    guard.contradict(5)
    assert await misled(guard)


async def test_contradiction_is_compared_without_a_pause(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_guard, "CHECK_EVERY", 1000.0)
    monkeypatch.setattr(journal_guard, "AGAIN_AFTER", 0.01)
    guard = watched.guard()
    watching = asyncio.create_task(guard.watch())
    await asyncio.sleep(0)
    guard.contradict(3)
    async with asyncio.timeout(20.0):
        await guard.misled.wait()
    watching.cancel()


async def test_contradiction_of_two_events_is_reported_until_the_reader_begins_again(
    watched: Watched,
) -> None:
    guard = watched.guard(lost=3)
    await guard.compare()
    guard.contradict(3)
    assert "two different events 3" in str(guard.problem)
    for _ in range(CONFIRMED + 1):
        assert await guard.compare()
    assert watched.alarms == [guard.problem]
    assert not await watched.guard().compare()
