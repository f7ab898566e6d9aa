"""kill -9 at each step of operations under one limit: the limit is never exceeded, and no slot is lost."""

import asyncio
import itertools
from pathlib import Path

import pytest
from tests.faults.test_kills import BOUND, ENVIRON, TIMEOUT

from writ_client.client import Writ
from writ_contracts.errors import WritError
from writ_contracts.history.audit import TraceEvent
from writ_contracts.ids import operation_id as id_of
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.installations.installation import local_target, open_policy, prepare, running_installation

LIMITED = {"name": "one at a time", "operations": ["test_count"], "allowed": True, "max_concurrent": 1}
STEPS = (
    "executor.requested",
    "executor.before_dispatch",
    "executor.let_in",
    "policy.granted",
    "executor.granted",
    "executor.finished",
    "agent.claimed",
    "agent.ran",
)


async def ended(writ: Writ, target: str, counted: Path, key: str) -> list[TraceEvent]:
    """Return all events of one operation once it has ended, repeated under the same key as a client would."""

    async def ask() -> list[TraceEvent] | None:
        parameters = {"path": str(counted), "delay": 0.3, "timeout": TIMEOUT}
        try:
            done = await writ.run("test_count", target, parameters, idempotency_key=key, timeout=BOUND)
            if done.outcome is None:
                return None
            return (await writ.trace(operation_id=id_of("operator", key))).events
        except WritError:
            return None  # somebody died while it was asked

    return await eventually(ask, within=2 * BOUND, what="an outcome")


def span(events: list[TraceEvent]) -> tuple[int, int]:
    """Return the journal sequences between which it ran."""
    by_kind = {event.kind: event.sequence for event in events}
    return by_kind.get("dispatched", 0), by_kind.get("finished") or by_kind["unknown"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", some(STEPS, "executor.let_in"))
async def test_killed_at_any_step_never_two_are_inside_and_the_place_becomes_free(tmp_path: Path, fault: str) -> None:
    environ = {**ENVIRON, "WRIT_FAULT": fault, "WRIT_FAULT_ONCE": str(tmp_path / "died")}
    folder = tmp_path / "files"
    folder.mkdir()
    targets = [local_target(name, folder) for name in ("web-1", "web-2", "web-3")]
    home = prepare(tmp_path / "installation", targets=targets, policy=open_policy(LIMITED))
    async with (
        running_installation(tmp_path, executors=2, environ=environ, home=home) as installation,
        await installation.client() as writ,
    ):
        every = await asyncio.gather(
            *(ended(writ, f"web-{number}", folder / f"counted-{number}", f"key-{number}") for number in (1, 2, 3))
        )
        spans = sorted(span(events) for events in every)
        assert all(before[1] < after[0] for before, after in itertools.pairwise(spans)), spans
        last = await ended(writ, "web-1", folder / "counted-4", "key-4")
    assert [event.kind for event in last].count("limit_taken") == 1
