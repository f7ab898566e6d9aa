"""Some control operations need no rule: no principal may fill the journal with them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from writ_client.client import Writ
from writ_contracts.errors import Full
from writ_nats_server.streams import Sizes
from writ_testing.installations.installation import open_policy, prepare, running_installation
from writ_trust.keys import Key, generate_seed

STOPS: dict[str, Any] = {"name": "stops", "operations": ["stop_set"], "allowed": True}
ENVIRON = {"WRIT_SWEEP": "0.2", "WRIT_RATE": "10000", "WRIT_BURST": "10000"}
SIZES = Sizes(journal=3_000_000, params=4_000_000, results=4_000_000)


async def flood(mallory: Writ, victim: str, most: int) -> Full | None:
    """Cancel an operation that has ended until it is refused; return the refusal."""
    cancel = {"operation_id": victim}
    for _ in range(most // 20):
        try:
            await asyncio.gather(*(mallory.submit("operation_cancel", "writ", cancel) for _ in range(20)))
        except Full as error:
            return error
    return None


@pytest.mark.timeout(180)
async def test_principal_without_rights_cannot_fill_the_journal(tmp_path: Path) -> None:
    """Control operations are exempt from quotas, and were so without a bound: after them nobody could set a stop."""
    home = prepare(tmp_path, policy=open_policy(STOPS), principals=[("mallory", {}), ("alice", {})])
    (home.nats / "sizes.json").write_bytes(json.encode(SIZES))
    async with (
        running_installation(tmp_path, home=home, environ=ENVIRON) as installation,
        await installation.client("mallory") as mallory,
        await installation.client("alice") as alice,
    ):
        opened = await mallory.sessions.open(Key(generate_seed()).public, seconds=60)
        refused = await flood(mallory, opened.operation_id, 2000)
        assert refused is not None, "nothing bounds them"
        assert refused.code == "full", refused
        assert (await alice.run("test_noop", "web-1", timeout=60)).outcome == "succeeded"
        assert (await alice.stop_set(["*"], reason="an attack")).outcome == "succeeded"
