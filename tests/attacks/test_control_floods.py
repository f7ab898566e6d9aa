"""Some control operations need no rule: no principal may fill the journal with them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from writ_client.client import Writ
from writ_contracts.errors import Full
from writ_nats_server.streams import Sizes
from writ_testing.eventually import eventually
from writ_testing.installations.installation import open_policy, prepare, running_installation
from writ_trust.keys import Key, generate_seed

STOPS: dict[str, Any] = {"name": "stops", "operations": ["stop_set"], "allowed": True}
ENVIRON = {"WRIT_SWEEP": "0.2", "WRIT_RATE": "10000", "WRIT_BURST": "10000"}
SIZES = Sizes(journal=6_000_000, params=4_000_000, results=4_000_000)
AT_ONCE, MOST = 10, 6000


@asynccontextmanager
async def small_journal(folder: Path) -> AsyncIterator[tuple[Writ, Writ]]:
    """Yield the clients of mallory and alice at an installation whose journal has 6 MB."""
    home = prepare(folder, policy=open_policy(STOPS), principals=[("mallory", {}), ("alice", {})])
    (home.nats / "sizes.json").write_bytes(json.encode(SIZES))
    async with (
        running_installation(folder, home=home, environ=ENVIRON) as installation,
        await installation.client("mallory") as mallory,
        await installation.client("alice") as alice,
    ):
        yield mallory, alice


async def others_go_on(alice: Writ) -> None:
    """Check that alice can set a stop at once, and request other operations once those of the flood have ended."""

    async def accepted() -> bool:
        try:
            return (await alice.submit("test_noop", "web-1")).outcome != "invalid"
        except Full:  # room is kept for the ends of the flood's operations
            return False

    assert (await alice.stop_set(["nothing-*"], reason="an attack")).outcome == "succeeded"
    await eventually(accepted, within=60, what="room for the operations of others")


async def flood(once: Callable[[], Awaitable[object]]) -> Full | None:
    """Repeat it until it is refused as too much; return the refusal."""
    for _ in range(MOST // AT_ONCE):
        found = await asyncio.gather(*(once() for _ in range(AT_ONCE)), return_exceptions=True)
        if refused := next((one for one in found if isinstance(one, Full)), None):
            return refused
    return None


@pytest.mark.timeout(180)
async def test_principal_without_rights_cannot_fill_the_journal(tmp_path: Path) -> None:
    """Control operations are exempt from quotas, and were so without a bound: after them nobody could set a stop."""
    async with small_journal(tmp_path) as (mallory, alice):
        opened = await mallory.sessions.open(Key(generate_seed()).public, seconds=60)
        cancel = {"operation_id": opened.operation_id}
        refused = await flood(lambda: mallory.submit("operation_cancel", "writ", cancel))
        assert refused is not None, "nothing bounds them"
        assert "by cancels, sessions and windows" in str(refused)
        await others_go_on(alice)
