"""The suite of all Journal implementations: the journal is record and lock of the whole installation."""

import asyncio
from contextlib import aclosing

import pytest
from msgspec.structs import replace

from writ_bus import tracing
from writ_bus.errors import Conflict, Full
from writ_bus.port import Bus, Entry, Tail
from writ_contracts import subjects
from writ_contracts.history.records import Record
from writ_contracts.ids import operation_id
from writ_testing.suites.bus_fixture import SOON, BusFixture

KINDS = ("requested", "started", "cancel_requested", "finished")
"""Real kinds: a NATS server accepts no others."""


def event(operation: str, number: int, expected: int, *, writer: str = "", data: bytes = b"{}") -> Entry:
    """Return an event of alice's operation."""
    return Entry(
        subject=subjects.operation_event("alice", operation, KINDS[(number - 1) % len(KINDS)]),
        data=data,
        event_id=f"{operation}-{number}-{writer}",
        filter=subjects.operation_filter("alice", operation),
        expected=expected,
    )


def lock(target: str, holder: str, expected: int) -> Entry:
    """Return the lock of a target, held by an operation."""
    subject = subjects.target_lock(target)
    return Entry(subject=subject, data=holder.encode(), event_id=f"lock-{holder}", filter=subject, expected=expected)


def control(kind: str, number: int, expected: int) -> Entry:
    """Return a control event, whose subject is its line."""
    subject = subjects.control_event(kind)
    return Entry(subject=subject, data=b"{}", event_id=f"{kind}-{number}", filter=subject, expected=expected)


def an_operation(number: int = 1) -> str:
    return operation_id("alice", str(number))


async def append_many(bus: Bus, count: int, *, first: int = 0) -> None:
    """Append one event to each of `count` operations."""
    for number in range(first, first + count):
        await bus.journal.append(event(an_operation(number), 1, 0))


async def take(tail: Tail, count: int) -> list[Record]:
    """Return the next `count` records of a tail."""
    found: list[Record] = []
    async with asyncio.timeout(2 * SOON):
        async for record in tail:
            found.append(record)
            if len(found) == count:
                break
    return found


class JournalSuite:
    """The suite of the Journal port."""

    async def test_appended_events_are_read_back_in_order(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        operation = an_operation()
        with tracing.within(tracing.root("c-1")):
            first = await executor.journal.append(event(operation, 1, 0, data=b"one"))
        second = await executor.journal.append(event(operation, 2, first, data=b"two"))
        one, two = await executor.journal.read(subjects.operation_filter("alice", operation))
        assert (one.sequence, one.data, two.sequence, two.data) == (first, b"one", second, b"two")
        assert one.headers[tracing.EVENT_ID] == f"{operation}-1-"
        assert one.headers[tracing.CORRELATION] == "c-1"
        assert one.headers[tracing.TRACEPARENT]
        assert one.subject == subjects.operation_event("alice", operation, KINDS[0])
        assert one.time > 1_700_000_000
        assert (await executor.journal.last(subjects.operation_filter("alice", operation))) == two

    async def test_empty_journal_reads_as_an_empty_list_and_no_last_event(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        assert await executor.journal.read("writ.journal.>") == []
        assert await executor.journal.last("writ.journal.op.alice.>") is None

    async def test_writer_behind_the_latest_event_is_refused(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        operation = an_operation()
        first = await executor.journal.append(event(operation, 1, 0))
        latest = await executor.journal.append(event(operation, 2, first))
        with pytest.raises(Conflict) as conflict:
            await executor.journal.append(event(operation, 3, first))
        assert conflict.value.last == latest
        assert len(await executor.journal.read("writ.journal.>")) == 2

    async def test_one_of_eight_writers_wins_each_race(self, ground: BusFixture) -> None:
        executors = [await ground.bus("executor") for _ in range(4)]
        for number in range(20):
            races = [
                bus.journal.append(event(an_operation(number), 1, 0, writer=str(writer)))
                for writer, bus in enumerate(executors * 2)
            ]
            outcomes = await asyncio.gather(*races, return_exceptions=True)
            assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
            assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 7
        assert len(await executors[0].journal.read("writ.journal.>")) == 20

    async def test_an_append_whose_answer_got_lost_is_found_again(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        ground.lose_answers(executor, 1)
        sequence = await executor.journal.append(event(an_operation(), 1, 0))
        (stored,) = await executor.journal.read("writ.journal.>")
        assert stored.sequence == sequence

    async def test_repeated_append_of_an_event_returns_its_sequence(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        first = await executor.journal.append(event(an_operation(), 1, 0))
        assert await executor.journal.append(event(an_operation(), 1, 0)) == first

    async def test_after_a_lost_answer_somebody_elses_event_is_a_conflict(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        await executor.journal.append(event(an_operation(), 1, 0, writer="other"))
        ground.lose_answers(executor, 1)
        with pytest.raises(Conflict):
            await executor.journal.append(event(an_operation(), 1, 0, writer="mine"))

    async def test_a_batch_is_stored_whole(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        operation = an_operation()
        requested = await executor.journal.append(event(operation, 1, 0))
        last = await executor.journal.append_together([event(operation, 2, requested), lock("web-1", operation, 0)])
        records = await executor.journal.read("writ.journal.>", after=requested)
        assert [record.sequence for record in records] == [last - 1, last]

    @pytest.mark.parametrize("wrong", ["first", "last"])
    async def test_a_batch_with_one_wrong_sequence_stores_nothing(self, ground: BusFixture, wrong: str) -> None:
        executor = await ground.bus("executor")
        operation, holder = an_operation(1), an_operation(2)
        requested = await executor.journal.append(event(operation, 1, 0))
        held = await executor.journal.append(lock("web-1", holder, 0))
        entries = [
            event(operation, 2, 0 if wrong == "first" else requested),
            lock("web-1", operation, 0 if wrong == "last" else held),
        ]
        with pytest.raises(Conflict):
            await executor.journal.append_together(entries)
        assert len(await executor.journal.read("writ.journal.>")) == 2

    async def test_a_batch_whose_answer_got_lost_is_found_again(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        operation = an_operation()
        ground.lose_answers(executor, 1)
        last = await executor.journal.append_together([event(operation, 1, 0), lock("web-1", operation, 0)])
        assert [record.sequence for record in await executor.journal.read("writ.journal.>")] == [last - 1, last]

    async def test_one_of_many_batches_takes_the_lock(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        operations = [an_operation(number) for number in range(6)]
        races = [executor.journal.append_together([event(one, 1, 0), lock("web-1", one, 0)]) for one in operations]
        outcomes = await asyncio.gather(*races, return_exceptions=True)
        assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
        assert len(await executor.journal.read("writ.journal.>")) == 2

    async def test_a_long_history_comes_whole_and_in_parts(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        await append_many(executor, 600)
        every = await executor.journal.read("writ.journal.>")
        assert [record.sequence for record in every] == list(range(1, 601))
        assert await executor.journal.read("writ.journal.>", after=590) == every[590:]
        assert await executor.journal.read("writ.journal.>", limit=300) == every[:300]
        assert await executor.journal.read("writ.journal.>", after=100, limit=256) == every[100:356]
        assert await executor.journal.read("writ.journal.>", limit=0) == []
        assert await executor.journal.read("writ.journal.>", after=600) == []
        (one,) = await executor.journal.read(subjects.operation_filter("alice", an_operation(77)))
        assert one == every[77]

    async def test_the_events_of_lines_far_apart_come_whole_and_in_order(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        last = {"stop_set": 0, "stop_lift": 0, "key_pin": 0}
        for number in range(30):
            await append_many(executor, 3, first=3 * number)
            for kind in list(last)[: number % 4]:
                last[kind] = await executor.journal.append(control(kind, number, last[kind]))
        every = await executor.journal.read("writ.journal.>")
        of_control = [record for record in every if record.subject.startswith("writ.journal.control.")]
        assert await executor.journal.read(subjects.CONTROL) == of_control
        assert await executor.journal.read(subjects.CONTROL, limit=7) == of_control[:7]
        for place in (0, 20, len(of_control) - 1):
            after = of_control[place].sequence
            assert await executor.journal.read(subjects.CONTROL, after=after) == of_control[place + 1 :]
        one_kind = [record for record in of_control if record.subject.endswith(".stop_lift")]
        assert await executor.journal.read(subjects.control_event("stop_lift")) == one_kind
        assert (
            await executor.journal.read(subjects.control_event("stop_lift"), after=one_kind[3].sequence) == one_kind[4:]
        )

    async def test_subject_with_many_events_is_read_whole(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        line, last, stored = subjects.target_lock("web-1"), 0, list[int]()
        for number in range(300):
            last = await executor.journal.append(lock("web-1", str(number), last))
            stored.append(last)
        assert [record.sequence for record in await executor.journal.read(line)] == stored
        assert [record.sequence for record in await executor.journal.read(line, after=stored[9])] == stored[10:]
        assert [record.sequence for record in await executor.journal.read(line, limit=270)] == stored[:270]

    @pytest.mark.parametrize("status", ["404", "204", "408", "503"])
    async def test_a_header_called_status_hides_no_event(self, ground: BusFixture, status: str) -> None:
        """A writer chooses the headers of its events; NATS has a header of this name in replies without a message."""
        executor, other = await ground.bus("executor"), await ground.bus("executor")
        own = replace(event(an_operation(), 1, 0), headers={"Status": status}, data=b"")
        async with aclosing(other.journal.tail(0)) as tail:
            following = asyncio.create_task(take(tail, 2))
            await executor.journal.append(own)
            await append_many(executor, 1)
            assert [record.sequence for record in await following] == [1, 2]
        assert [record.sequence for record in await executor.journal.read("writ.journal.>")] == [1, 2]

    async def test_tail_begins_at_the_given_sequence_and_follows(self, ground: BusFixture) -> None:
        executor, other = await ground.bus("executor"), await ground.bus("executor")
        await append_many(executor, 5)
        async with aclosing(other.journal.tail(2)) as tail:
            assert [record.sequence for record in await take(tail, 3)] == [3, 4, 5]
            following = asyncio.create_task(take(tail, 20))
            await append_many(executor, 20, first=5)
            assert [record.sequence for record in await following] == list(range(6, 26))

    async def test_a_tail_that_is_not_live_has_all_events_too(self, ground: BusFixture) -> None:
        executor, other = await ground.bus("executor"), await ground.bus("executor")
        await append_many(executor, 5)
        async with aclosing(other.journal.tail(2, live=False)) as tail:
            assert [record.sequence for record in await take(tail, 3)] == [3, 4, 5]
            for number in range(6, 12):
                following = asyncio.create_task(take(tail, 1))
                await append_many(executor, 1, first=number)
                assert [record.sequence for record in await following] == [number]
            following = asyncio.create_task(take(tail, 300))
            await append_many(executor, 300, first=20)
            assert [record.sequence for record in await following] == list(range(12, 312))

    async def test_a_tail_misses_nothing_while_its_reader_is_slow(self, ground: BusFixture) -> None:
        executor, other = await ground.bus("executor"), await ground.bus("executor")
        async with aclosing(other.journal.tail(0)) as tail:
            first = asyncio.create_task(take(tail, 1))
            await append_many(executor, 400)
            assert (await first)[0].sequence == 1
            assert [record.sequence for record in await take(tail, 399)] == list(range(2, 401))

    async def test_a_tail_is_gap_free_across_a_restart_of_the_server(self, ground: BusFixture) -> None:
        executor, other = await ground.bus("executor"), await ground.bus("executor")
        async with aclosing(other.journal.tail(0)) as tail:
            following = asyncio.create_task(take(tail, 60))
            await append_many(executor, 30)
            appended: list[asyncio.Task[None]] = []

            async def meanwhile() -> None:
                appended.append(asyncio.create_task(append_many(executor, 30, first=30)))
                await asyncio.wait(appended, timeout=0.1)

            await ground.restart(meanwhile)
            await appended[0]
            assert [record.sequence for record in await following] == list(range(1, 61))

    async def test_tail_returns_the_records_of_the_journal(self, ground: BusFixture) -> None:
        executor, other = await ground.bus("executor"), await ground.bus("executor")
        async with aclosing(other.journal.tail(0)) as tail:
            following = asyncio.create_task(take(tail, 3))
            await append_many(executor, 3)
            records = [(one.sequence, one.subject, one.data, one.time) for one in await following]
        stored = await executor.journal.read("writ.journal.>")
        assert records == [(one.sequence, one.subject, one.data, one.time) for one in stored]

    async def test_usage_shows_how_full_it_is_and_a_full_journal_refuses(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        empty = await executor.journal.usage()
        assert (empty.bytes, empty.messages, empty.last_sequence, empty.max_bytes) == (0, 0, 0, ground.max_bytes)
        refused = 0
        for number in range(1 + ground.max_bytes // 50_000):
            try:
                await executor.journal.append(event(an_operation(number), 1, 0, data=b"x" * 50_000))
            except Full:
                refused += 1
        assert refused == 1
        full = await executor.journal.usage()
        assert full.messages == full.last_sequence > 10
        assert ground.max_bytes * 0.9 < full.bytes <= ground.max_bytes
