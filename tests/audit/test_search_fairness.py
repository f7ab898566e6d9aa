"""Searches of one principal delay no other one's, and read no more than they may show."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.audit.history import History
from tests.audit.replica import search
from tests.audit.test_index import opened

from writ_audit import index, reading
from writ_audit.index import AuditIndex, IndexPosition
from writ_audit.index_file import connect
from writ_contracts.history.audit import SearchQuery, SearchRow
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus

SEARCHES = 45
"""Fewer than audit serves of one principal at once, and more than Python has threads for them."""


async def test_search_waits_for_no_long_searches_of_another_principal(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, released, found = threading.Event(), threading.Event(), AuditIndex.search

    def slow(self: AuditIndex, query: SearchQuery, only_of: str | None, digests: object = None) -> list[SearchRow]:
        if query.principal == "bob":
            begun.set()
            assert released.wait(60)
        return found(self, query, only_of)

    async def begun_by_bob() -> bool:
        return begun.is_set()

    monkeypatch.setattr(AuditIndex, "search", slow)
    await History(bus).carried_out("alice", "a1")
    of_bob = [asyncio.create_task(search(bus, "bob", principal="bob")) for _ in range(SEARCHES)]
    try:
        await eventually(begun_by_bob)
        assert len((await search(bus, "alice", principal="alice")).rows) == 1
    finally:
        released.set()
        replies = await asyncio.gather(*of_bob)
    assert [reply.error for reply in replies] == [None] * SEARCHES


async def test_names_are_compared_for_suggestions_up_to_a_bound(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await History(bus).carried_out("alice", "a1", target="web-1")
    monkeypatch.setattr(reading, "MOST_COMPARED", 2)
    unknown = (await search(bus, "alice", principal="alice", targets=["web-10", "web-11", "web-12"])).unknown
    assert [(one.name, one.nearest) for one in unknown] == [
        ("web-10", ["web-1"]),
        ("web-11", ["web-1"]),
        ("web-12", []),
    ]


class Steps:
    """Counts what SQLite does for a search."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(index, "connect", self._connect)

    def _connect(self, path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_progress_handler(self._step, 10)
        return connection

    def _step(self) -> int:
        self.count += 1
        return 0


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


@pytest.fixture
def full(tmp_path: Path, steps: Steps) -> Iterator[AuditIndex]:
    """Yield an index with 2,000 operations of alice."""
    full = AuditIndex(tmp_path / "audit.sqlite")
    full.apply([opened(number, f"op{number}") for number in range(1, 2001)], IndexPosition(2000, "o", "l"))
    yield full
    full.close()


@pytest.mark.parametrize(
    "query",
    [
        SearchQuery(),
        SearchQuery(operation="file_read"),
        SearchQuery(targets=["web-1", "web-2"], text="nothing has it"),
        SearchQuery(outcome="denied", reason="nothing has it"),
        SearchQuery(since=0.5, until=2.0),
    ],
)
def test_search_limited_to_own_records_reads_no_others(full: AuditIndex, steps: Steps, query: SearchQuery) -> None:
    steps.count = 0
    assert full.search(query, "bob") == []
    assert steps.count < 50
    full.search(query, None)
    assert steps.count > 50
