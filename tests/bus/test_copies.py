"""A read of a stream with several copies returns everything that was stored before it, whichever copy replies."""

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from writ_bus.errors import Conflict, TimedOut, Unreachable
from writ_bus.nats import jetstream, journal
from writ_bus.nats.journal import NatsJournal
from writ_bus.nats.store import NatsStore
from writ_bus.port import Entry
from writ_contracts.history.records import Record

LINE = "writ.journal.x"


def event(sequence: int, name: str = "another's") -> Record:
    return Record(sequence, LINE, b"", {"Writ-Event-Id": name}, 0.0)


def entry(expected: int) -> Entry:
    return Entry(subject=LINE, data=b"", event_id="ours", filter=LINE, expected=expected)


class Copies:
    """A journal with the leader's events, and the copy's replies in turn; the last reply repeats."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, leader: Sequence[Record], *copies: Sequence[Record]) -> None:
        self.leader = list(leader)
        self._copies = list(copies)
        self.reads = 0
        connection: Any = SimpleNamespace(wait_up=self._wait, clustered=True)
        replies: Any = None
        self.journal = NatsJournal(connection, replies, "S", "writ.journal.>", "writ.event.>")
        monkeypatch.setattr(self.journal, "_events", self._events)
        monkeypatch.setattr(journal, "leader_get", self._leader_get)
        monkeypatch.setattr(journal, "LAG", 0.0)

    async def _wait(self, _: float) -> None:
        return None

    async def _events(self, _: str, after: int, most: int | None, least: int) -> tuple[list[Record], int]:
        self.reads += 1
        copy = self._copies.pop(0) if len(self._copies) > 1 else self._copies[0]
        found = [one for one in copy if one.sequence > after]
        size = most or journal.PAGE
        return found[:size], max(0, len(found) - size)

    async def _leader_get(self, *_: object) -> Record | None:
        return self.leader[-1] if self.leader else None


async def test_copy_that_is_behind_is_read_until_it_has_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [event(1), event(4)]
    copies = Copies(monkeypatch, whole, [], whole[:1], whole)
    assert await copies.journal.read(LINE) == whole
    assert copies.reads == 3


async def test_growing_line_is_read_to_its_end_at_the_start_of_the_read(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = Copies(monkeypatch, [event(1)], [event(1)])

    async def busy(*_: object) -> Record:
        copies.leader.append(event(len(copies.leader) + 1))
        copies._copies[0] = copies.leader[:-1]  # the next read has all that the leader reported, and one event more
        return copies.leader[-1]

    monkeypatch.setattr(journal, "leader_get", busy)
    assert await copies.journal.read(LINE) == copies.leader[:2]


async def test_copy_with_the_required_sequence_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [event(number) for number in range(1, 10)]
    copies = Copies(monkeypatch, whole, whole[:5])
    assert await copies.journal.read(LINE, limit=5) == whole[:5]


async def test_copy_that_stays_behind_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PATIENCE", 0.02)
    copies = Copies(monkeypatch, [event(3)], [])
    with pytest.raises(Unreachable, match=r"no event of writ\.journal\.x after 0"):
        await copies.journal.read(LINE)


@pytest.mark.parametrize(
    ("stored", "sequence"), [pytest.param("ours", 7, id="ours"), pytest.param("another's", None, id="another's")]
)
async def test_append_beside_one_in_flight_waits_for_its_result(
    monkeypatch: pytest.MonkeyPatch, stored: str, sequence: int | None
) -> None:
    copies = Copies(monkeypatch, [event(2)], [])
    refused = 0

    async def publish(*_: object) -> int:
        nonlocal refused
        refused += 1
        if refused == 3:
            copies.leader.append(event(7, stored))
            copies._copies[0] = [event(7, stored)]
        raise Conflict("wrong last sequence")

    monkeypatch.setattr(copies.journal, "_publish", publish)
    if sequence is not None:
        assert await copies.journal.append(entry(2)) == sequence
        return
    with pytest.raises(Conflict, match="is at 7, not at 2") as caught:
        await copies.journal.append(entry(2))
    assert caught.value.last == 7


async def test_batch_that_is_stored_during_the_search_for_it_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first search found no event. No other writer stores the last event of this batch."""
    lock, last = "writ.journal.lock", Record(8, LINE, b"", {"Writ-Event-Id": "ours"}, 0.0)
    first = Entry(subject=lock, data=b"", event_id="before", filter=lock, expected=0)
    copies = Copies(monkeypatch, [])
    stored = {lock: [Record(7, lock, b"", {"Writ-Event-Id": "before"}, 0.0)], LINE: [last]}
    looked: list[str] = []

    async def events(line: str, *_: object) -> tuple[list[Record], int]:
        looked.append(line)
        return (stored[line] if len(looked) > 1 else []), 0

    async def publish(*_: object) -> int:
        raise Conflict("wrong last sequence") if looked else TimedOut("no answer")

    async def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(copies.journal, "_events", events)
    monkeypatch.setattr(journal, "leader_get", nothing)
    monkeypatch.setattr(copies.journal, "_publish_together", publish)
    assert await copies.journal.append_together([first, entry(2)]) == 8
    assert looked == [LINE, lock, LINE]


async def test_append_that_expects_an_absent_event_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = Copies(monkeypatch, [event(2)], [])
    tried = 0

    async def publish(*_: object) -> int:
        nonlocal tried
        tried += 1
        raise Conflict("wrong last sequence")

    monkeypatch.setattr(copies.journal, "_publish", publish)
    with pytest.raises(Conflict, match="wrong last sequence"):
        await copies.journal.append(entry(5))
    assert tried == 1


async def test_leader_and_copy_give_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    reply: Mapping[str, Any] = {
        "message": {
            "subject": LINE,
            "seq": 5,
            "time": "2026-01-02T03:04:05.123456789Z",
            "hdrs": b"NATS/1.0\r\nWrit-Event-Id: one\r\nNats-Expected-Last-Subject-Sequence: 4\r\n\r\n",
            "data": b"{}",
        }
    }

    async def one(*_: object, **__: object) -> Any:
        return SimpleNamespace(data=msgspec.json.encode(reply))

    replies: Any = SimpleNamespace(one=one)
    found = await jetstream.leader_get(replies, "S", {}, 1.0)
    headers = {"Writ-Event-Id": "one", "Nats-Expected-Last-Subject-Sequence": "4"}
    assert found == Record(5, LINE, b"{}", headers, 1767323045.123456)


@pytest.mark.parametrize(("clustered", "found"), [(True, b"kept"), (False, None)])
async def test_key_that_a_copy_lacks_is_read_from_the_leader(
    monkeypatch: pytest.MonkeyPatch, clustered: bool, found: bytes | None
) -> None:
    async def nothing(*_: object) -> Record | None:
        return None

    async def kept(*_: object) -> Record | None:
        return Record(1, "p.k", b"kept", {}, 0.0)

    monkeypatch.setattr("writ_bus.nats.store.direct_get_last", nothing)
    monkeypatch.setattr("writ_bus.nats.store.leader_get", kept)
    connection: Any = SimpleNamespace(clustered=clustered)
    replies: Any = None
    assert await NatsStore(connection, replies, "S", "p").get("k") == found


@pytest.mark.parametrize("clustered", [True, False])
async def test_key_of_a_stream_without_an_answering_copy_is_read_from_the_leader(
    monkeypatch: pytest.MonkeyPatch, clustered: bool
) -> None:
    async def nobody(*_: object) -> Record | None:
        raise Unreachable("nobody listens on $JS.API.DIRECT.GET.S.p.k")

    async def kept(*_: object) -> Record | None:
        return Record(1, "p.k", b"kept", {}, 0.0)

    monkeypatch.setattr("writ_bus.nats.store.direct_get_last", nobody)
    monkeypatch.setattr("writ_bus.nats.store.leader_get", kept)
    connection: Any = SimpleNamespace(clustered=clustered)
    replies: Any = None
    store = NatsStore(connection, replies, "S", "p")
    if clustered:
        assert await store.get("k") == b"kept"
    else:
        with pytest.raises(Unreachable):
            await store.get("k")


@pytest.mark.parametrize(("clustered", "connected"), [(True, True), (True, False), (False, True)])
async def test_read_of_a_cluster_waits_until_a_copy_has_answered_once(
    monkeypatch: pytest.MonkeyPatch, clustered: bool, connected: bool
) -> None:
    requests = 0

    async def page(*_: object) -> tuple[list[Record], int]:
        nonlocal requests
        requests += 1
        if requests < 3:
            raise Unreachable("no server has the stream S")
        return [event(1)], 0

    async def wait(_: float) -> None:
        return None

    async def end(*_: object) -> Record:
        return event(1)

    connection: Any = SimpleNamespace(wait_up=wait, clustered=clustered, connected=connected)
    replies: Any = None
    store = NatsJournal(connection, replies, "S", "writ.journal.>", "writ.event.>")
    monkeypatch.setattr(store, "page", page)
    monkeypatch.setattr(journal, "leader_get", end)
    if clustered and connected:
        assert await store.read(LINE) == [event(1)]
        assert requests == 3
        requests = 0
        with pytest.raises(Unreachable, match="no server has the stream S"):  # as every stream that has answered
            await store.read(LINE)
        assert requests == 1
    else:
        with pytest.raises(Unreachable, match="no server has the stream S"):
            await store.read(LINE)
        assert requests == 1


async def test_read_of_a_cluster_without_an_answering_copy_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def page(*_: object) -> tuple[list[Record], int]:
        raise Unreachable("no server has the stream S")

    monkeypatch.setattr(journal, "PATIENCE", 0.05)
    connection: Any = SimpleNamespace(wait_up=asyncio.sleep, clustered=True, connected=True)
    replies: Any = None
    store = NatsJournal(connection, replies, "S", "writ.journal.>", "writ.event.>")
    monkeypatch.setattr(store, "page", page)
    with pytest.raises(Unreachable, match="no server has the stream S"):
        await store.read(LINE)
