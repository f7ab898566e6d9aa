"""A nearly full journal on the real server: new requests are refused clearly, and started operations still end."""

import asyncio
from pathlib import Path
from time import time_ns
from typing import Any

import pytest
from msgspec import json
from tests.e2e.test_journal_archive import ADMIN, takes_work

from writ_bus.nats.bus import connect
from writ_bus.port import Entry
from writ_client.client import Writ
from writ_contracts.errors import Full, Invalid
from writ_installation.server_access.server_options import options_of
from writ_nats_server.streams import Sizes
from writ_testing.eventually import eventually
from writ_testing.installations.count_load import fill
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation

AT_ONCE = 20
"""Events that fill the journal at the same time: it must be full before the first operation has ended."""
STOPS: dict[str, Any] = {"name": "stops", "operations": ["stop_set", "operation_cancel"], "allowed": True}
ENVIRON = {"WRIT_SWEEP": "0.2", "WRIT_RATE": "10000", "WRIT_BURST": "10000", "WRIT_REFUSAL_BURST": "10000"}


async def started(writ: Writ, operation_id: str) -> None:
    async def check() -> bool:
        return (await writ.get(operation_id)).state == "started"

    await eventually(check, what="its start")


async def nothing_recorded(writ: Writ) -> bool:
    """Return true if invalid requests are refused as such and leave no record."""
    return {await _record_of_an_invalid_one(writ) for _ in range(20)} == {None}


async def _record_of_an_invalid_one(writ: Writ) -> str | None:
    try:
        answer = await writ.submit("test_noop", "web-1", {"nonsense": 1})
    except Invalid:  # it left no record
        return None
    assert answer.outcome == "invalid"
    return answer.operation_id


@pytest.mark.timeout(120)
async def test_a_nearly_full_journal_refuses_what_is_new_and_keeps_the_ends(tmp_path: Path) -> None:
    home = prepare(tmp_path, policy=open_policy(STOPS))
    sizes = Sizes(journal=3_000_000, params=4_000_000, results=4_000_000)
    (home.nats / "sizes.json").write_bytes(json.encode(sizes))
    async with (
        running_installation(tmp_path, home=home, executors=2, environ=ENVIRON) as installation,
        await installation.client() as writ,
    ):
        sleeper = (await writ.submit("test_sleep", "web-1", {"seconds": 100, "processes": 1})).operation_id or ""
        await started(writ, sleeper)
        full = await fill(writ)
        assert (full.code, full.retry) == ("full", True)
        assert "writ journal archive" in str(full)
        stored = await _events(writ, sleeper)
        await eventually(lambda: nothing_recorded(writ), what="that both executors count what they refuse")
        assert (await writ.cancel(sleeper)).outcome == "succeeded"
        assert (await writ.wait(sleeper, timeout=30)).outcome == "cancelled"
        assert (await writ.stop_set(["*"], reason="it is full")).outcome == "succeeded"
        assert await _events(writ, sleeper) >= stored + 2
        with pytest.raises(Full):
            await writ.submit("test_noop", "web-1")


async def fill_to_the_limit(installation: RunningInstallation) -> None:
    """Use the rest of the journal with an executor's key, to the last byte that fits."""
    bus = await connect(options_of(installation.home, "executor", installation.url, None))
    for size in (20_000, 1_000, 50):
        for first in range(0, 1000, AT_ONCE):
            subjects = [f"writ.journal.security.full-{size}-{first + number}" for number in range(AT_ONCE)]
            entries = [Entry(subject=one, data=b"x" * size, event_id=one, filter=one, expected=0) for one in subjects]
            stored = await asyncio.gather(*map(bus.journal.append, entries), return_exceptions=True)
            refused = [one for one in stored if isinstance(one, BaseException)]
            assert all(isinstance(one, Full) for one in refused), refused
            if refused:
                break
    await bus.close()


@pytest.mark.timeout(240)
async def test_archive_of_a_journal_without_any_room_lets_its_operations_end_first(tmp_path: Path) -> None:
    """The first operation has ended on its host, and keeps all later events until its end is stored."""
    home, counted = prepare(tmp_path, policy=open_policy(ADMIN)), tmp_path / "files" / "counted"
    sizes = Sizes(journal=3_000_000, params=4_000_000, results=4_000_000, policies=4_000_000, scans=1_000_000)
    (home.nats / "sizes.json").write_bytes(json.encode(sizes))
    async with (
        running_installation(tmp_path, home=home, environ={**ENVIRON, "WRIT_JOURNAL_KEEP": "0.01"}) as installation,
        await installation.client() as writ,
    ):
        parameters = {"path": str(counted), "delay": 4.0, "timeout": 60}
        first = (await writ.submit("test_count", "web-1", parameters)).operation_id or ""
        await started(writ, first)
        with installation.paused("agent"):  # its receipt comes afterwards
            await fill_to_the_limit(installation)

        async def has_ended_there() -> bool:
            return counted.exists()

        await eventually(has_ended_there, within=60, what="the effect of the first operation")
        assert (await writ.get(first)).state == "started"
        assert await archived(installation, tmp_path)
        assert (await writ.wait(first, timeout=60)).outcome == "succeeded"

        async def goes_on() -> bool:
            await archived(installation, tmp_path)
            return await takes_work(writ)

        await eventually(goes_on, within=90, what="that new work is taken")


async def archived(installation: RunningInstallation, folder: Path) -> bool:
    """Archive what can be archived, as an operator does; the events that fill the journal are no valid ones."""
    file = str(folder / f"{time_ns()}.writ")
    ended = await installation.writ("journal", "archive", file, "-r", "it is full", "--with-damage")
    return ended.status == 0


async def _events(writ: Writ, operation_id: str) -> int:
    return len((await writ.trace(operation_id=operation_id)).events)
