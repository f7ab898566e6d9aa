"""The list of pending operations is read on from the end of the journal: never again from the last such event."""

from pathlib import Path

from msgspec import json
from tests.policy.approving import pending
from tests.policy.replica import Asking, files, replica

from writ_contracts import subjects
from writ_contracts.history.records import Record
from writ_contracts.people.approvals import ApprovalsQuery, ApprovalsReply
from writ_contracts.wire import decode, encode
from writ_policy.approvals.pending import AWAITING
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


async def ask(asking: Asking) -> None:
    headers = {"Nats-Request-Info": json.encode({"user": asking.files.keys["bob"].public}).decode()}
    query = encode(ApprovalsQuery())
    answer = await asking.bus.request(subjects.query("bob", "approvals"), query, timeout=20, headers=headers)
    assert decode(answer.data, ApprovalsReply).error is None


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
