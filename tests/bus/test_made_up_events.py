"""An event that a key of the account published in the stream's place is followed by the true one of its sequence."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from writ_bus.nats import tail as tail_module
from writ_bus.port import Bus
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import writ_server
from writ_testing.suites.bus_fixture import SOON
from writ_testing.suites.journal import an_operation, append_many, take


async def publish_as_stream(bus: Bus, sequence: int) -> None:
    operation = an_operation(99)
    headers = {
        "Nats-Stream": "WRIT_JOURNAL",
        "Nats-Subject": f"writ.journal.op.alice.{operation}.finished",
        "Nats-Sequence": str(sequence),
        "Nats-Time-Stamp": "2026-01-01T00:00:00Z",
    }
    await bus.publish(f"writ.event.op.alice.{operation}.progress", b"made up", headers)


async def test_tail_returns_the_true_event_after_a_made_up_one_of_its_sequence(tmp_path: Path) -> None:
    async with writ_server(tmp_path) as server:
        thief, honest = await server.bus("executor"), await server.bus("executor")
        await append_many(honest, 1)
        async with aclosing(honest.journal.tail(0)) as tail:
            assert [record.sequence for record in await take(tail, 1)] == [1]
            following = asyncio.create_task(take(tail, 4))
            await publish_as_stream(thief, 2)
            await append_many(thief, 2, first=1)
            await publish_as_stream(thief, 4)
            found = await following
        stored = await honest.journal.read("writ.journal.>")
    assert [(record.sequence, record.data == b"made up") for record in found] == [
        (2, True),
        (2, False),
        (3, False),
        (4, True),
    ]
    assert [(one.subject, one.time) for one in found[1:3]] == [(one.subject, one.time) for one in stored[1:]]


async def test_tail_returns_the_true_event_also_if_a_flood_displaced_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "AHEAD", 16)
    async with writ_server(tmp_path) as server:
        thief, honest = await server.bus("executor"), await server.bus("executor")
        await append_many(honest, 1)
        async with aclosing(honest.journal.tail(0)) as tail:
            assert [record.sequence for record in await take(tail, 1)] == [1]
            following = asyncio.create_task(take(tail, 1))
            await publish_as_stream(thief, 2)
            assert [record.data for record in await following] == [b"made up"]
            # Nobody reads meanwhile: the true event is among those that are dropped.
            await append_many(thief, 1, first=1)
            for _ in range(20):
                await publish_as_stream(thief, 1)
            await append_many(thief, 2, first=2)
            found = await take(tail, 3)
    assert [(record.sequence, record.data == b"made up") for record in found] == [(2, False), (3, False), (4, False)]


async def test_tail_returns_no_event_twice_where_the_connection_breaks_while_it_reads_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "AHEAD", 16)
    async with writ_server(tmp_path) as server:
        writer, reader = await server.bus("executor"), await server.bus("executor")
        await append_many(writer, 1)
        async with aclosing(reader.journal.tail(0)) as tail:
            assert [record.sequence for record in await take(tail, 1)] == [1]
            following = asyncio.create_task(take(tail, 1))
            await append_many(writer, 1, first=1)
            assert [record.sequence for record in await following] == [2]
            await append_many(writer, 40, first=2)  # more than wait for a slow reader
            await reader.connection.round_trip(SOON)
            assert [record.sequence for record in await take(tail, 1)] == [3]
            for callback in reader.connection.on_back:
                callback()
            await append_many(writer, 1, first=42)
            assert [record.sequence for record in await take(tail, 40)] == list(range(4, 44))


async def test_made_up_event_far_ahead_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tail_module, "SILENCE", 0.3)
    async with writ_server(tmp_path) as server:
        thief, honest = await server.bus("executor"), await server.bus("executor")
        await append_many(honest, 1)
        async with aclosing(honest.journal.tail(0)) as tail:
            assert [record.sequence for record in await take(tail, 1)] == [1]
            following = asyncio.create_task(take(tail, 3))
            await publish_as_stream(thief, 4)

            async def dropped() -> bool:
                return "tail.not_in_the_stream" in caplog.text

            await eventually(dropped, within=SOON)
            await append_many(honest, 3, first=1)
            found = await following
    assert [(record.sequence, record.data == b"made up") for record in found] == [(2, False), (3, False), (4, False)]


async def test_tail_that_is_not_live_returns_no_made_up_event(tmp_path: Path) -> None:
    async with writ_server(tmp_path) as server:
        thief, honest = await server.bus("executor"), await server.bus("executor")
        await append_many(honest, 1)
        async with aclosing(honest.journal.tail(0, live=False)) as tail:
            assert [record.sequence for record in await take(tail, 1)] == [1]
            following = asyncio.create_task(take(tail, 3))
            for sequence in (1, 2, 3, 4, 1_000_000):
                await publish_as_stream(thief, sequence)
            await append_many(honest, 3, first=1)
            found = await following
    assert [(record.sequence, record.data == b"made up") for record in found] == [(2, False), (3, False), (4, False)]
