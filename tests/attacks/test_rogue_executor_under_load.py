"""A rogue executor beside honest ones, under load: it answers claims and reports, and repeats ended operations."""

import asyncio
import secrets
from pathlib import Path

import pytest
from tests.attacks.rogue import Rogue, events
from tests.e2e.stolen_keys import subject

from writ_bus.port import Bus
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.decisions import Subject
from writ_contracts.errors import WritError
from writ_contracts.journal import Granted
from writ_testing.installations.installation import RunningInstallation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.exhaustive, pytest.mark.timeout(240)]
OPERATIONS, AT_ONCE = 40, 8
ENDS = {"succeeded", "unknown", "expired", "failed"}
"""A rogue can lose a claim or a receipt, so that an operation does not start or nobody knows its end."""


async def test_rogue_executor_under_load_causes_no_second_or_unrequested_effect(
    installation: RunningInstallation, executor: Bus, alice: Writ, files: Path
) -> None:
    rogue, slots, counted = Rogue(executor), asyncio.Semaphore(AT_ONCE), files / "under-load"
    await rogue.listen()
    keys = [secrets.token_hex(8) for _ in range(OPERATIONS)]

    async def one(number: str) -> tuple[str, str]:
        parameters = {"path": str(counted), "delay": 0.0, "timeout": 10}
        async with slots:
            done = await alice.run("test_count", "web-1", parameters, idempotency_key=number, timeout=120)
            about = subject(
                installation, "test_count", "web-1", parameters, operation_id=done.operation_id, idempotency_key=number
            )
            await repeat(rogue, about)
        return done.operation_id, str(done.outcome)

    ended = dict(await asyncio.gather(*map(one, keys)))
    assert set(ended.values()) <= ENDS, ended
    assert len(rogue.subjects) == OPERATIONS
    assert all(answer.grant is None for answer in rogue.answers), "policy granted a repetition"
    lines = counted.read_text().split()
    assert len(lines) == len(set(lines)), "an operation had its effect twice"
    assert set(lines) <= set(ended), "an effect that nobody asked for"
    assert {number for number, outcome in ended.items() if outcome == "succeeded"} <= set(lines)
    for number in ended:
        own = await events(executor, subjects.operation_filter("alice", number))
        assert sum(isinstance(event, Granted) for event in own) <= 1


async def repeat(rogue: Rogue, about: Subject) -> None:
    """Dispatch ended operations again; an honest executor may have been faster at the same sequence."""
    try:
        await rogue.dispatch(about, 2)
    except WritError:
        return
