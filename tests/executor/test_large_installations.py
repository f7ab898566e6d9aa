"""10,000 targets and 100,000 open operations: lists come in pages, snapshots in parts, and nothing is too large."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.executor.conftest import KEY, POOL, World

from writ_client.queries.operation_queries import Queries
from writ_contracts.ids import operation_id
from writ_contracts.inventory import Target
from writ_contracts.requests import OpenQuery, OperationsReply, TargetsQuery, TargetsReply
from writ_contracts.subjects import query
from writ_contracts.wire import decode, encode
from writ_executor.journal import snapshots
from writ_executor.journal.snapshots import HEAD_KEY, IndexSnapshot, IndexSnapshots
from writ_executor.requests import pages
from writ_executor.requests.pages import first_page
from writ_testing.memory.bus import MemoryBus
from writ_testing.peers.nats_server import writ_server
from writ_testing.stopwatch import stopwatch

TARGETS = 10_000


def open_operations(number: int) -> list[tuple[str, str]]:
    """Return so many open operations, with their principals."""
    return [(f"principal-{at % 200}", operation_id("alice", str(at))) for at in range(number)]


def test_a_page_has_what_fits_and_at_least_one_item() -> None:
    assert first_page(["a", "b", "c"], most=9) == (["a", "b"], True)
    assert first_page(["a", "b"], most=9) == (["a", "b"], False)
    assert first_page(["a" * 100, "b"], most=9) == (["a" * 100], True)
    assert first_page(list[str](), most=9) == ([], False)


async def test_ten_thousand_targets_are_listed_in_pages(world: World) -> None:
    tags = [f"tag-{number}-of-some-length" for number in range(10)]
    world.targets = [
        Target(id=f"web-{number:05}", role="production", backend="local", tags=tags, agent=POOL)
        for number in range(TARGETS)
    ]
    await world.executor()
    answer = await world.bus.request(query("alice", "targets"), encode(TargetsQuery()), timeout=20)
    first = decode(answer.data, TargetsReply)
    assert (first.more, len(answer.data) < 1_100_000) == (True, True)
    found = await Queries(world.bus, "alice").targets()
    assert [one.id for one in found] == [one.id for one in world.targets]


async def test_open_operations_are_listed_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 50_000)
    await world.executor()
    path = "/srv/app/" + "/".join(["x" * 200] * 15)
    requests = [world.ask("file_write", parameters={"file_path": f"{path}-{n}", "content": "x"}) for n in range(50)]
    answers = await asyncio.gather(*requests)
    answer = await world.bus.request(query("alice", "operations"), encode(OpenQuery()), timeout=20)
    first = decode(answer.data, OperationsReply)
    assert (first.more, len(answer.data) < 60_000) == (True, True)
    found = await Queries(world.bus, "alice").open_operations()
    assert sorted(one.operation_id for one in found) == sorted(one.operation_id or "" for one in answers)


async def test_a_snapshot_of_a_hundred_thousand_operations_is_stored_and_read(tmp_path: Path) -> None:
    operations = open_operations(100_000)
    async with writ_server(tmp_path) as server:
        store = IndexSnapshots(await server.bus("executor"), KEY)
        for sequence in (7, 8):
            await store.save(IndexSnapshot(sequence=sequence, control_sequence=1, open=operations[sequence:]))
        found = await IndexSnapshots(await server.bus("executor"), KEY).load()
        assert found is not None
        assert (found.sequence, found.open) == (8, operations[8:])


async def test_a_snapshot_with_a_missing_part_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PART", 10)
    store = IndexSnapshots(bus := MemoryBus(), KEY)
    small, large = [
        IndexSnapshot(sequence=sequence, control_sequence=0, open=open_operations(number))
        for sequence, number in ((5, 10), (9, 25))
    ]
    await store.save(small)
    await store.save(large)
    assert await store.load() == replace(large, parts=3)
    await bus.params.delete("open-index-part.9.1")
    assert await store.load() == small
    await bus.params.delete(HEAD_KEY)
    assert await store.load() == small


async def test_parts_of_earlier_snapshots_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PART", 10)
    store = IndexSnapshots(bus := MemoryBus(), KEY)
    for sequence in (1, 2):
        await store.save(IndexSnapshot(sequence=sequence, control_sequence=0, open=open_operations(25)))
    assert await bus.params.get("open-index-part.1.0") is None
    assert await bus.params.get("open-index-part.2.2") is not None


async def test_a_replica_starts_from_a_snapshot_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PART", 3)
    one = await world.executor()
    requests = [world.ask("file_write", parameters={"file_path": f"/srv/app/{n}", "content": "x"}) for n in range(10)]
    ids = {answer.operation_id for answer in await asyncio.gather(*requests)}
    await one.follower.reached((await world.bus.journal.usage()).last_sequence)
    await one.follower.save()
    other = await world.executor()
    assert {life.requested.operation_id for life in other.index.open()} == ids
    with stopwatch() as seconds:
        assert len(await Queries(world.bus, "alice").open_operations()) == len(ids)
    assert seconds() < 5.0
