"""Reads of the journal ask the server without a walk over all subjects."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from writ_bus.errors import BusError, BusRefused, Unreachable
from writ_bus.nats.jetstream import STREAM_NOT_FOUND
from writ_bus.nats.journal import INDEXED, PAGE, NatsJournal
from writ_contracts.history.records import Record
from writ_testing.peers.nats_server import WritServer

WHOLE = "writ.journal.>"


class RecordedRequests:
    """A connection that records requests and has no events."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    async def one(self, _: str, data: bytes, **__: object) -> object:
        self.requests.append(msgspec.json.decode(data))
        return SimpleNamespace(data=b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}')


class CountedJournal(NatsJournal):
    """A journal with events at the given sequences; it records the sizes of requested pages."""

    def __init__(self, *sequences: int) -> None:
        connection: Any = SimpleNamespace(clustered=False)
        super().__init__(connection, connection, "S", WHOLE, "writ.event.>")
        self.events = [Record(one, "writ.journal.control.stop_set", b"", {}, 0.0) for one in sequences]
        self.sizes: list[int] = []

    async def page(self, filter: str, after: int, size: int) -> tuple[list[Record], int]:
        self.sizes.append(size)
        found = [one for one in self.events if one.sequence > after]
        searches = size > len(found) and self.events and self.events[-1].sequence >= INDEXED
        assert not searches, "the server would search on to the end of the journal"
        return found[:size], max(0, len(found) - size)

    async def last(self, filter: str) -> Record | None:
        return self.events[-1] if self.events else None


@pytest.mark.parametrize(
    ("after", "limit", "sizes"),
    [(0, None, [1, 2]), (0, 2, [1, 1]), (0, 1, [1]), (5, None, [1, 1]), (4_000_000, None, []), (9_000_000, None, [])],
)
async def test_page_is_never_larger_than_the_number_of_events(after: int, limit: int | None, sizes: list[int]) -> None:
    journal = CountedJournal(5, 70, 4_000_000)
    expected = [one for one in journal.events if one.sequence > after][:limit]
    assert await journal.read("writ.journal.control.>", after=after, limit=limit) == expected
    assert journal.sizes == sizes


@pytest.mark.parametrize(
    ("at_least", "limit", "sizes"),
    [(2, None, [2, 1]), (3, None, [3]), (3, 2, [2]), (1, None, [1, 2])],
)
async def test_events_that_are_known_to_exist_are_read_with_one_request(
    at_least: int, limit: int | None, sizes: list[int]
) -> None:
    journal = CountedJournal(5, 70, 4_000_000)
    found = await journal.read("writ.journal.control.>", at_least=at_least, limit=limit)
    assert (found, journal.sizes) == (journal.events[:limit], sizes)


@pytest.mark.parametrize(("last", "sizes"), [(INDEXED - 1, [PAGE]), (INDEXED, [1, 2])])
async def test_journal_that_is_known_to_be_short_is_read_with_one_request(last: int, sizes: list[int]) -> None:
    journal = CountedJournal(5, 70, last)
    reply: Any = SimpleNamespace(data=msgspec.json.encode({"stream": "S", "seq": last}), headers=None)
    journal._stored(reply)
    assert await journal.read("writ.journal.control.>") == journal.events
    assert journal.sizes == sizes


async def test_line_longer_than_a_page_is_read_whole() -> None:
    journal = CountedJournal(*range(1, 701))
    assert await journal.read("writ.journal.control.>") == journal.events


@pytest.mark.parametrize(
    ("filter", "requested"),
    [(WHOLE, ">"), ("writ.journal.control.>", "writ.journal.control.>"), ("writ.journal.x", "writ.journal.x")],
)
async def test_last_event_of_the_whole_journal_is_found_without_a_walk(filter: str, requested: str) -> None:
    replies: Any = RecordedRequests()
    connection: Any = SimpleNamespace(clustered=False)
    journal = NatsJournal(connection, replies, "S", WHOLE, "writ.event.>")
    assert await journal.last(filter) is None
    assert replies.requests == [{"last_by_subj": requested}]


@pytest.mark.parametrize(
    ("streams", "error"),
    [
        ({"streams": None, "missing": None}, BusRefused),
        ({"streams": [{"config": {"name": "OTHER"}}]}, BusRefused),
        ({"streams": [], "missing": ["S"]}, Unreachable),
    ],
)
async def test_list_of_streams_without_the_journal_is_an_error_of_the_bus(
    streams: dict[str, Any], error: type[BusError]
) -> None:
    reply = msgspec.json.encode({"type": "io.nats.jetstream.api.v1.stream_list_response", **streams})

    async def one(*_: object, **__: object) -> object:
        return SimpleNamespace(data=reply)

    connection: Any = SimpleNamespace(clustered=False, one=one)
    with pytest.raises(error, match=r"stream S$"):
        await NatsJournal(connection, connection, "S", WHOLE, "writ.event.>").usage()


async def test_server_without_the_journal_refuses_its_usage(tmp_path: Path) -> None:
    server = WritServer(tmp_path, ["alice"], ["a"])
    await server.start()
    try:
        for user in ("status", "policy"):
            with pytest.raises(BusRefused) as refused:
                await (await server.bus(user)).journal.usage()
            assert refused.value.number == STREAM_NOT_FOUND
    finally:
        await server.stop()
