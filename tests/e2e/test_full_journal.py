"""A nearly full journal on the real server: new requests are refused clearly, and started operations still end."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from writ_client.client import Writ
from writ_contracts.errors import Full, Invalid
from writ_nats_server.streams import Sizes
from writ_testing.eventually import eventually
from writ_testing.installations.count_load import fill
from writ_testing.installations.installation import open_policy, prepare, running_installation

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


async def _events(writ: Writ, operation_id: str) -> int:
    return len((await writ.trace(operation_id=operation_id)).events)
