"""A stream that stores nothing while the server answers is noticed by the writes to it, and by no others."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from writ_bus.port import Entry, Usage
from writ_contracts import subjects
from writ_contracts.errors import Conflict, TimedOut, Unreachable
from writ_runtime.journal import storage_watch, watched_bus
from writ_runtime.journal.storage_watch import StorageWatch
from writ_runtime.journal.watched_bus import WatchedBus, WatchedJournal
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_testing.memory.journal import MemoryJournal, MemoryStore
from writ_testing.stopwatch import stopwatch

SILENT = 0.05


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> MemoryBus:
    monkeypatch.setattr(storage_watch, "UNANSWERED", SILENT)
    return MemoryBus()


def make_watch(bus: MemoryBus, stream: str = subjects.JOURNAL_STREAM) -> StorageWatch:
    return StorageWatch(stream, bus, lambda: 0.0)


@asynccontextmanager
async def watching(watch: StorageWatch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.watch())
    try:
        async with asyncio.timeout(30):
            yield
    finally:
        task.cancel()


def entry(number: int) -> Entry:
    line = subjects.security_event(f"k{number}")
    return Entry(subject=line, data=b"{}", event_id=f"e{number}", filter=line, expected=0)


async def refusal(watch: StorageWatch) -> str:
    """Begin a write that gets no answer. Return the code of its error."""
    try:
        async with watch.storing():
            await asyncio.Event().wait()
    except Unreachable as error:
        return error.code
    return "stored"


async def unstored() -> None:
    raise TimedOut("no answer")


def usage_of(monkeypatch: pytest.MonkeyPatch, *, copies: int) -> asyncio.Semaphore:
    """Have the journal answer that it has so many copies. Return a semaphore that counts the questions."""
    questions = asyncio.Semaphore(0)

    async def usage(_: MemoryJournal) -> Usage:
        questions.release()
        return Usage(1, 2, 3, 4, copies=copies)

    monkeypatch.setattr(MemoryJournal, "usage", usage)
    return questions


async def test_storage_watch_reports_no_problem_while_nothing_answers(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested, may_end = asyncio.Event(), asyncio.Event()

    async def usage(_: MemoryJournal) -> Usage:
        requested.set()
        raise TimedOut("no answer")

    monkeypatch.setattr(MemoryJournal, "usage", usage)
    watch = make_watch(bus)

    async def store() -> None:
        async with watch.storing():
            await may_end.wait()

    async with watching(watch), asyncio.TaskGroup() as group:
        group.create_task(store())
        await requested.wait()
        may_end.set()
    assert watch.problem is None


async def test_append_without_an_answer_is_judged_when_its_time_is_over_and_not_at_the_next_round(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_watch, "CHECK_EVERY", 3600.0)
    watch = make_watch(bus)
    storing = asyncio.create_task(refusal(watch))
    await asyncio.sleep(0)  # it begins to wait
    async with watching(watch):
        assert await storing == "not_stored"


@pytest.mark.parametrize(("copies", "reported"), [(1, True), (3, False)])
async def test_copies_that_elect_a_leader_are_no_full_disk(
    copies: int, reported: bool, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions, may_end, watch = usage_of(monkeypatch, copies=copies), asyncio.Event(), make_watch(bus)
    watch.probe = unstored

    async def store() -> None:
        with suppress(Unreachable):
            async with watch.storing():
                await may_end.wait()

    async def known() -> bool:
        return watch.problem is not None

    async with watching(watch), asyncio.TaskGroup() as group:
        group.create_task(store())
        for _ in range(1 if reported else 3):
            await questions.acquire()
        if reported:
            await eventually(known)
        assert (watch.problem is not None) == reported
        may_end.set()


async def test_several_copies_that_store_nothing_are_noticed_though_each_attempt_ends_before_an_election(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_watch, "ELECTION", 6 * SILENT)
    usage_of(monkeypatch, copies=3)
    watch = make_watch(bus)
    async with watching(watch):
        while watch.problem is None:
            with suppress(TimedOut, Unreachable):
                async with watch.storing():
                    try:
                        async with asyncio.timeout(3 * SILENT):
                            await asyncio.Event().wait()
                    except TimeoutError:
                        await unstored()


async def test_a_stream_that_stores_nothing_is_noticed_within_two_seconds_while_others_store() -> None:
    bus = MemoryBus()
    watched = WatchedBus(bus, lambda: 0.0)
    bus.broker.disk.storing("writ.params").clear()
    task = asyncio.create_task(watched.watch())

    storing = asyncio.create_task(watched.params.put("a.b", b"x", ttl=60))
    line, sequence = subjects.security_event("k"), 0
    with stopwatch() as seconds:
        while not storing.done():
            own = Entry(subject=line, data=b"{}", event_id=f"e{sequence}", filter=line, expected=sequence)
            sequence = await watched.journal.append(own)
            await asyncio.sleep(0)
        assert seconds() < 2.0
    with pytest.raises(Unreachable, match="stores nothing in WRIT_PARAMS") as refused:
        await storing
    assert refused.value.code == "not_stored"
    assert "systemctl restart writ-nats" in (watched.storage_problem or "")
    watched.require(subjects.JOURNAL_STREAM)
    task.cancel()


async def test_a_stream_without_a_probe_is_tried_by_each_write_and_well_with_the_first_that_is_stored(
    bus: MemoryBus,
) -> None:
    watch = make_watch(bus, subjects.POLICIES_STREAM)
    async with watching(watch):
        assert [await refusal(watch), await refusal(watch)] == ["not_stored", "not_stored"]
        assert watch.problem is not None
        async with watch.storing():
            pass
        assert watch.problem is None


async def test_the_problem_of_a_stream_without_a_probe_ends_when_the_server_has_started_again(bus: MemoryBus) -> None:
    watch = make_watch(bus, subjects.SCANS_STREAM)

    async def is_well() -> bool:
        return watch.problem is None

    async with watching(watch):
        assert await refusal(watch) == "not_stored"
        bus.broker.stop()
        bus.broker.start()
        await eventually(is_well)


async def test_a_write_that_waits_for_a_restart_of_the_server_is_not_cut_off(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage_of(monkeypatch, copies=1)
    watch, may_end, begun = make_watch(bus, subjects.RESULTS_STREAM), asyncio.Event(), time.monotonic()

    async def store() -> None:
        async with watch.storing():
            await may_end.wait()

    async def is_overdue() -> bool:
        return time.monotonic() > begun + 4 * SILENT

    async with watching(watch), asyncio.TaskGroup() as group:
        group.create_task(store())
        bus.broker.stop()
        await eventually(is_overdue)
        bus.broker.start()
        may_end.set()
    assert watch.problem is None


async def test_a_stream_that_writes_slowly_is_not_dead_though_the_journal_answers(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_watch, "ANSWERS", SILENT)
    asked, may_end = asyncio.Semaphore(0), asyncio.Event()

    async def version(_: MemoryStore, key: str) -> int:
        asked.release()
        await may_end.wait()
        return 0

    monkeypatch.setattr(MemoryStore, "version", version)
    watch = make_watch(bus, subjects.PARAMS_STREAM)

    async def store() -> None:
        async with watch.storing():
            await may_end.wait()

    async with watching(watch), asyncio.TaskGroup() as group:
        group.create_task(store())
        for _ in range(2):
            await asked.acquire()
        assert watch.problem is None
        may_end.set()


async def test_the_problem_of_a_stream_without_a_probe_ends_with_a_write_that_is_stored_late(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_watch, "PROBE", SILENT)
    watch = make_watch(bus, subjects.POLICIES_STREAM)

    async def is_well() -> bool:
        return watch.problem is None

    async with watching(watch):
        assert await refusal(watch) == "not_stored"
        line = subjects.published_policy("op")
        await bus.policies.append(Entry(subject=line, data=b"{}", event_id="e", filter=line, expected=0))
        await eventually(is_well)


async def test_conflicts_hide_no_dead_stream(bus: MemoryBus) -> None:
    watch = make_watch(bus)
    async with watching(watch):
        storing = asyncio.create_task(refusal(watch))
        while not storing.done():
            with suppress(Conflict):
                async with watch.storing():
                    raise Conflict("wrong last sequence")
            await asyncio.sleep(0)
        assert await storing == "not_stored"


async def test_an_attempt_of_long_ago_does_not_shorten_the_wait_for_an_election(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_watch, "ELECTION", 1.0)
    monkeypatch.setattr(storage_watch, "PATIENCE", 0.5)
    monkeypatch.setattr(storage_watch, "CHECK_EVERY", SILENT)
    questions, may_end, watch = usage_of(monkeypatch, copies=3), asyncio.Event(), make_watch(bus)
    begun = time.monotonic()

    async def store() -> None:
        async with watch.storing():
            await may_end.wait()

    async def is_long_ago() -> bool:
        return time.monotonic() > begun + 1.0

    with suppress(TimedOut):
        async with watch.storing():
            await unstored()
    await eventually(is_long_ago)
    async with watching(watch), asyncio.TaskGroup() as group:
        group.create_task(store())
        for _ in range(2):
            await questions.acquire()
        may_end.set()
    assert watch.problem is None


async def test_streams_that_store_nothing_are_named_in_one_sentence(bus: MemoryBus) -> None:
    watched = WatchedBus(bus, lambda: 0.0)
    params, results = (watched.watches[stream] for stream in (subjects.PARAMS_STREAM, subjects.RESULTS_STREAM))
    async with watching(params), watching(results):
        assert [await refusal(params), await refusal(results)] == ["not_stored", "not_stored"]
    problem = watched.storage_problem or ""
    assert problem.startswith("NATS replies but stores nothing in WRIT_PARAMS and WRIT_RESULTS: ")
    assert problem.count("NATS replies") == 1


async def test_renewal_of_a_value_that_is_gone_is_no_success(bus: MemoryBus) -> None:
    watched = WatchedBus(bus, lambda: 0.0)
    watch = watched.watches[subjects.PARAMS_STREAM]
    async with watching(watch):
        bus.broker.disk.storing("writ.params").clear()
        storing = asyncio.create_task(refusal(watch))
        while not storing.done():
            await watched.params.renew("gone", ttl=60)
            await asyncio.sleep(0)
        assert await storing == "not_stored"


async def test_the_latest_acknowledged_events_are_known_each_by_the_first_one_of_its_sequence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watched_bus, "MOST_ACKNOWLEDGED", 3)
    bus = MemoryBus(Broker())
    journal = WatchedJournal(bus.journal, make_watch(bus))
    await journal.append(entry(1))
    await journal.append_together([entry(2), entry(3)])
    bus.broker.disk.records.pop()
    await journal.append(entry(4))
    assert journal.acknowledged == {1: "e1", 3: "e3"}
    for number in (5, 6):
        await journal.append(entry(number))
    assert journal.acknowledged == {3: "e3", 4: "e5", 5: "e6"}
