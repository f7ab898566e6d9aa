"""The list of pending operations is read on from the end of the journal: never again from the last such event."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec import json
from tests.policy.approving import know, pending
from tests.policy.replica import Asking, files, replica

from writ_contracts import subjects
from writ_contracts.history.records import Record
from writ_contracts.people.approvals import ApprovalsQuery, ApprovalsReply
from writ_contracts.wire import decode, encode
from writ_policy.approvals.pending import AWAITING
from writ_policy.approvals.recorded_operations import RecordedOperations
from writ_policy.approvals.verdicts import PendingOperation
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_testing.memory.journal import Disk, MemoryJournal


class WatchedJournal(MemoryJournal):
    """Notes from where the waiting operations are read, and which ones are found."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.reads: list[tuple[int, list[str]]] = []

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None, at_least: int = 1) -> list[Record]:
        found = await super().read(filter, after=after, limit=limit, at_least=at_least)
        if filter == AWAITING:
            self.reads.append((after, [record.subject.split(".")[4] for record in found]))
        return found


async def ask(asking: Asking, who: str = "bob", **query: Any) -> ApprovalsReply:
    headers = {"Nats-Request-Info": json.encode({"user": asking.files.keys[who].public}).decode()}
    sent = encode(ApprovalsQuery(**query))
    answer = await asking.bus.request(subjects.query(who, "approvals"), sent, timeout=20, headers=headers)
    found = decode(answer.data, ApprovalsReply)
    assert found.error is None
    return found


async def test_decided_operation_is_found_by_the_beginning_of_its_id(asking: Asking) -> None:
    know(asking, "dave", dave=["lead"])
    one = await pending(asking)
    number = one.subject.operation_id
    assert (await ask(asking, begins_with=number[:6])).ids == [number]
    assert (await one.decide()).state == "approved"
    assert (await ask(asking)).pending == []
    assert (await ask(asking, begins_with=number[:6])).ids == [number]
    assert (await ask(asking, "dave", begins_with=number[:6])).ids == []
    another = "a" if number[0] != "a" else "b"
    assert (await ask(asking, begins_with=another + number[1:6])).ids == []


async def test_latest_former_operations_are_kept_and_the_oldest_forgotten(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_policy.approvals.pending.MOST_FORMER", 2)
    decided = [await pending(asking) for _ in range(3)]
    for one in decided:
        await one.decide()
        await ask(asking)
    found = [(await ask(asking, begins_with=one.subject.operation_id[:20])).ids for one in decided]
    assert found == [[], *([one.subject.operation_id] for one in decided[1:])]


async def test_each_question_reads_only_what_came_since_the_last(tmp_path: Path) -> None:
    broker = Broker()
    bus = MemoryBus(broker)
    bus.journal = journal = WatchedJournal(broker.disk)
    async with replica(bus, MemoryBus(broker), files(tmp_path)) as asking:
        one = await pending(asking)
        first = broker.disk.records[-1].sequence
        await ask(asking)
        two = await pending(asking)
        second = broker.disk.records[-1].sequence
        await ask(asking)
        await ask(asking)
        found = [[one.subject.operation_id], [two.subject.operation_id], []]
        assert journal.reads == list(zip((0, first, second), found, strict=True))


async def test_another_journal_is_read_from_its_start(tmp_path: Path) -> None:
    broker = Broker()
    bus = MemoryBus(broker)
    bus.journal = journal = WatchedJournal(broker.disk)
    async with replica(bus, MemoryBus(broker), files(tmp_path)) as asking:
        await pending(asking)
        await ask(asking)
        del broker.disk.records[-1:]
        await ask(asking)
        assert [after for after, _ in journal.reads] == [0, 0]


async def test_operations_of_a_page_are_read_at_once_and_pages_are_in_order(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, a thousand of them took 14 s on a busy machine."""
    know(asking)
    numbers = [(await pending(asking)).subject.operation_id for _ in range(5)]
    others, read = asyncio.Barrier(2), RecordedOperations.of

    async def beside_another(self: RecordedOperations, *which: Any) -> PendingOperation:
        await asyncio.wait_for(others.wait(), 20)
        return await read(self, *which)

    monkeypatch.setattr(RecordedOperations, "of", beside_another)
    first = await ask(asking, limit=2)
    second = await ask(asking, limit=2, after=first.last)
    assert (first.more, second.more) == (True, True)
    monkeypatch.undo()
    third = await ask(asking, limit=2, after=second.last)
    assert (third.more, third.last) == (False, third.pending[0].sequence)
    assert [one.operation_id for page in (first, second, third) for one in page.pending] == numbers
