"""Idle probes: a store that nobody writes to, or rarely, is noticed once it stores nothing."""

import asyncio
import time
from itertools import pairwise

import pytest
from tests.runtime.test_storage_watch import SILENT, make_watch, unstored, usage_of, watching

from writ_contracts.errors import TimedOut, Unreachable
from writ_runtime.journal import storage_watch
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> MemoryBus:
    monkeypatch.setattr(storage_watch, "UNANSWERED", SILENT)
    return MemoryBus()


async def silent() -> None:
    """Wait as a write does, which ends before several copies have elected a leader."""
    try:
        async with asyncio.timeout(3 * SILENT):
            await asyncio.Event().wait()
    except TimeoutError:
        await unstored()


async def test_several_copies_that_store_nothing_are_noticed_by_one_write_and_idle_probes(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next write may come hours later."""
    monkeypatch.setattr(storage_watch, "ELECTION", 6 * SILENT)
    monkeypatch.setattr(storage_watch, "PROBE", SILENT)
    usage_of(monkeypatch, copies=3)
    watch = make_watch(bus)
    watch.idle_probe = silent

    async def noticed() -> bool:
        return watch.problem is not None

    async with watching(watch):
        with pytest.raises(TimedOut):
            async with watch.storing():
                await silent()
        await eventually(noticed, what="the problem")


@pytest.mark.parametrize("copies", [1, 3])
async def test_a_stream_that_stores_nothing_is_noticed_by_idle_probes_alone(
    copies: int, bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IDLE", "ELECTION", "PROBE"):
        monkeypatch.setattr(storage_watch, name, SILENT)
    usage_of(monkeypatch, copies=copies)
    watch, stored, probes = make_watch(bus), asyncio.Semaphore(0), list[float]()

    async def probe() -> None:
        probes.append(time.monotonic())
        if len(probes) > 2:
            await silent()
        stored.release()

    async def noticed() -> bool:
        return watch.problem is not None

    watch.idle_probe = probe
    async with watching(watch):
        for _ in range(2):
            await stored.acquire()
        assert watch.problem is None
        await eventually(noticed, what="the problem")
    assert probes[1] - probes[0] >= SILENT


async def test_idle_probes_pause_while_no_server_is_there(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_watch, "IDLE", SILENT)
    watch, probes = make_watch(bus), list[float]()

    async def unreachable() -> None:
        probes.append(time.monotonic())
        raise Unreachable("away")

    async def three() -> bool:
        return len(probes) >= 3

    watch.idle_probe = unreachable
    async with watching(watch):
        await eventually(three, what="probes")
        assert watch.problem is None
    assert min(after - before for before, after in pairwise(probes)) >= SILENT


async def test_an_unexpected_error_of_an_idle_probe_is_raised_as_it_is(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a group, whose text names no cause."""
    monkeypatch.setattr(storage_watch, "IDLE", SILENT)

    async def broken() -> None:
        raise LookupError("a defect")

    watch = make_watch(bus)
    watch.idle_probe = broken
    with pytest.raises(LookupError, match="a defect"):
        async with asyncio.timeout(30):
            await watch.watch()
