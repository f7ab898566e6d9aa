"""Notices are sent until they are stored; too many are dropped, counted and logged once; control events come first."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from writ_bus.port import Endpoint, Message, Service
from writ_bus.tasks import spawn
from writ_contracts import subjects
from writ_contracts.notices import OF_CONTROL, Notice, NoticeKind, NoticeReply
from writ_contracts.requests import Failure
from writ_contracts.wire import decode, encode
from writ_executor.agents.notices import CONTROL_EVENTS
from writ_runtime.journal import journal_notices
from writ_runtime.journal.journal_notices import MOST_WAITING, NoticeSender, dropped_notices
from writ_runtime.metrics import Metrics
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus

LIMITED = Failure(code="rate_limited", message="too many", retry=True)


class Sending:
    """A sender, and an executor that answers by script."""

    def __init__(self, answer: Callable[[Notice], Failure | None] = lambda _: None) -> None:
        self.bus, self.stored, self.dropped = MemoryBus(), list[Notice](), Counter[str]()
        self.sender = NoticeSender(subjects.NOTICE_POLICY, lambda kind: self.dropped.update([kind]))
        self._answer = answer

    async def run(self) -> asyncio.Task[None]:
        endpoint = Endpoint(name="notice_policy", subject=subjects.NOTICE_POLICY, handler=self._record)
        await self.bus.serve(Service(name="executor", version="0", description="", endpoints=[endpoint]))
        return spawn(self.sender.run(self.bus), "notices")

    async def _record(self, message: Message) -> bytes:
        notice = decode(message.data, Notice)
        failure = self._answer(notice)
        if failure is None:
            self.stored.append(notice)
        return encode(NoticeReply(error=failure))

    def queue(self, kind: NoticeKind, number: int = 0) -> None:
        self.sender.queue(Notice(kind=kind, detail=f"notice {number}", version=number))


def test_kinds_of_control_are_those_that_executors_record_as_control_events() -> None:
    assert CONTROL_EVENTS.keys() == OF_CONTROL


async def test_notices_beyond_the_bound_are_dropped_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    sending = Sending()
    for number in range(MOST_WAITING + 50):
        sending.queue("read_refused", number)
    assert sending.dropped == {"read_refused": 50}
    assert [one.message for one in caplog.records] == ["notice.dropped"]
    running = await sending.run()

    async def all_sent() -> bool:
        return "notice.all_sent" in [one.message for one in caplog.records]

    await eventually(all_sent)
    assert [one.version for one in sending.stored] == list(range(MOST_WAITING))
    running.cancel()


async def test_control_events_are_neither_dropped_nor_delayed_by_a_flood_of_refused_reads() -> None:
    sending = Sending(lambda notice: LIMITED if notice.kind == "read_refused" else None)
    for number in range(MOST_WAITING + 50):
        sending.queue("read_refused", number)
    for number in (1, 2):
        sending.queue("file_version", number)
    running = await sending.run()

    async def stored() -> bool:
        return [(one.kind, one.version) for one in sending.stored] == [("file_version", 1), ("file_version", 2)]

    await eventually(stored)
    assert sending.dropped.keys() == {"read_refused"}
    running.cancel()


async def test_notice_whose_sending_is_cut_off_is_sent_by_the_next_run() -> None:
    refusing = asyncio.Event()

    def answer(_: Notice) -> Failure | None:
        refusing.set()
        return LIMITED if len(refused) == 0 else None

    refused = list[str]()
    sending = Sending(answer)
    sending.queue("agent_enrolled", 1)
    first = await sending.run()
    await asyncio.wait_for(refusing.wait(), 20)
    first.cancel()
    await asyncio.wait([first])
    refused.append("no more")
    second = spawn(sending.sender.run(sending.bus), "notices")

    async def stored() -> bool:
        return [one.version for one in sending.stored] == [1]

    await eventually(stored)
    second.cancel()


async def test_of_too_many_control_events_the_oldest_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_notices, "MOST_OF_CONTROL", 3)
    sending = Sending()
    for number in range(5):
        sending.queue("file_version", number)
    running = await sending.run()

    async def stored() -> bool:
        return [one.version for one in sending.stored] == [2, 3, 4]

    await eventually(stored)
    assert sending.dropped == {"file_version": 2}
    running.cancel()


async def test_notice_that_executors_refuse_for_good_is_counted_and_the_next_one_is_sent() -> None:
    refused = Failure(code="invalid", message="no such kind", retry=False)
    sending = Sending(lambda notice: refused if notice.version == 0 else None)
    for number in range(2):
        sending.queue("file_refused", number)
    running = await sending.run()

    async def stored() -> bool:
        return [one.version for one in sending.stored] == [1]

    await eventually(stored)
    assert sending.dropped == {"file_refused": 1}
    running.cancel()


def test_dropped_notices_have_a_metric_that_begins_at_nought() -> None:
    measured = Metrics()
    dropped_notices(measured)("file_version")
    rows = measured.exposition()[0].decode()
    assert 'writ_notices_dropped_total{kind="file_version"} 1.0' in rows
    assert 'writ_notices_dropped_total{kind="read_refused"} 0.0' in rows
