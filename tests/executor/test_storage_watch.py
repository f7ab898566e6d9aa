"""A server that answers but stores nothing is reported to requesters and operators within two seconds."""

import asyncio
import time
from contextlib import suppress

import pytest
from tests.executor.conftest import World

from writ_bus.port import Entry, Usage
from writ_contracts import subjects
from writ_contracts.errors import TimedOut, Unreachable
from writ_contracts.journal import RefusedSummary
from writ_executor.journal import storage_watch
from writ_executor.journal.storage_watch import StorageWatch, WatchedJournal
from writ_executor.metrics import metrics
from writ_executor.service import Executor
from writ_testing.eventually import eventually
from writ_testing.stopwatch import stopwatch

RESTART = {"parameters": {"service_name": "nginx"}}
WRITE = {"parameters": {"file_path": "/srv/app/a", "content": "x"}}


async def problem(one: Executor) -> str | None:
    return await one.checks()["journal"]()


async def test_requests_are_refused_with_the_reason_within_two_seconds(world: World) -> None:
    measured = metrics()
    one = await world.executor(measured)
    assert await problem(one) is None
    world.broker.disk.stores.clear()
    with stopwatch() as seconds:
        answer = await world.ask("service_restart", **RESTART)
        assert seconds() < 2.0
    assert answer.error is not None
    assert answer.error.code == "not_stored"
    assert "stores nothing" in answer.error.message
    assert "stores nothing" in (await problem(one) or "")
    assert b"writ_journal_not_stored 1" in measured.exposition("")[0]
    with stopwatch() as seconds:
        again = await world.ask("file_write", **WRITE)
        assert seconds() < 0.5
    assert again.error is not None
    assert again.error.code == "not_stored"


async def test_parameters_that_cannot_be_kept_are_reported_as_well(world: World) -> None:
    await world.executor()
    world.broker.disk.stores.clear()
    answer = await world.ask("file_write", **WRITE)
    assert answer.error is not None
    assert answer.error.code == "not_stored"


async def test_service_resumes_once_an_event_is_stored_and_records_refusals(world: World) -> None:
    one = await world.executor()
    world.broker.disk.stores.clear()
    await world.ask("service_restart", **RESTART)
    world.broker.disk.stores.set()

    async def well() -> bool:
        return await problem(one) is None

    await eventually(well)
    assert (await world.ask("service_restart", **RESTART)).error is None
    [summary] = await world.events(subjects.refused_summary("writ"))
    assert isinstance(summary, RefusedSummary)
    assert summary.codes["not_stored"] >= 1


async def test_storage_watch_reports_no_problem_while_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_watch, "UNANSWERED", 0.05)
    requested = asyncio.Event()

    async def usage() -> Usage:
        requested.set()
        raise TimedOut("no answer")

    watch = StorageWatch(usage, lambda: 0.0)
    may_end = asyncio.Event()

    async def store() -> None:
        async with watch.storing():
            await may_end.wait()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        watching = group.create_task(watch.watch(store))
        storing = group.create_task(store())
        await requested.wait()
        may_end.set()
        await storing
        watching.cancel()
    assert watch.problem is None


async def test_append_without_an_answer_is_judged_when_its_time_is_over_and_not_at_the_next_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage_watch, "CHECK_EVERY", 3600.0)
    monkeypatch.setattr(storage_watch, "UNANSWERED", 0.05)

    async def usage() -> Usage:
        return Usage(1, 2, 3, 4, copies=1)

    watch = StorageWatch(usage, lambda: 0.0)

    async def store() -> str:
        try:
            async with watch.storing():
                await asyncio.Event().wait()
        except Unreachable as error:
            return error.code
        return "stored"

    storing = asyncio.create_task(store())
    await asyncio.sleep(0)  # it begins to wait
    watching = asyncio.create_task(watch.watch(store))
    async with asyncio.timeout(30):
        assert await storing == "not_stored"
    watching.cancel()


@pytest.mark.parametrize(("copies", "reported"), [(1, True), (3, False)])
async def test_copies_that_elect_a_leader_are_no_full_disk(
    copies: int, reported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_watch, "UNANSWERED", 0.05)
    questions, may_end = asyncio.Semaphore(0), asyncio.Event()

    async def usage() -> Usage:
        questions.release()
        return Usage(1, 2, 3, 4, copies=copies)

    async def unstored() -> None:
        raise TimedOut("no answer")

    async def store() -> None:
        with suppress(Unreachable):
            async with watch.storing():
                await may_end.wait()

    async def known() -> bool:
        return watch.problem is not None

    watch = StorageWatch(usage, lambda: 0.0)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        watching, storing = group.create_task(watch.watch(unstored)), group.create_task(store())
        for _ in range(1 if reported else 3):
            await questions.acquire()
        if reported:
            await eventually(known)
        assert (watch.problem is not None) == reported
        may_end.set()
        await storing
        watching.cancel()


async def test_the_latest_acknowledged_events_are_known_each_by_the_first_one_of_its_sequence(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_watch, "MOST_ACKNOWLEDGED", 3)
    journal = WatchedJournal(world.bus.journal, StorageWatch(world.bus.journal.usage, time.time))

    def entry(number: int) -> Entry:
        line = subjects.security_event(f"k{number}")
        return Entry(subject=line, data=b"{}", event_id=f"e{number}", filter=line, expected=0)

    await journal.append(entry(1))
    await journal.append_together([entry(2), entry(3)])
    world.broker.disk.records.pop()
    await journal.append(entry(4))
    assert journal.acknowledged == {1: "e1", 3: "e3"}
    for number in (5, 6):
        await journal.append(entry(number))
    assert journal.acknowledged == {3: "e3", 4: "e5", 5: "e6"}
