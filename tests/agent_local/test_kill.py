"""kill -9 of the agent at every step: the operation ends once, its effect happens at most once."""

from pathlib import Path

import pytest
from tests.agent_local.conftest import Installation

from writ_agent.backends.processes import living
from writ_contracts.agents import Receipt
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some

MOMENTS: dict[str, tuple[str, int]] = {
    "agent.pulled": ("succeeded", 1),
    "agent.claimed": ("failed", 0),
    "agent.intent": ("unknown", 0),
    "agent.ran": ("unknown", 1),
    "agent.receipt_spooled": ("succeeded", 1),
    "agent.receipt_sent": ("succeeded", 1),
}
"""What the first receipt says, and how often the effect happened."""


@pytest.mark.parametrize(
    ("moment", "outcome", "effects"),
    some(
        ((key, *value) for key, value in MOMENTS.items()), ("agent.intent", "unknown", 0), ("agent.ran", "unknown", 1)
    ),
)
async def test_outcome_is_true_after_an_agent_killed_at(
    moment: str, outcome: str, effects: int, installation: Installation, tmp_path: Path
) -> None:
    once = {"WRIT_FAULT": moment, "WRIT_FAULT_ONCE": str(tmp_path / "once")}
    first = await installation.agent(**once)
    counted = installation.folder / "root" / "counted"
    operation_id = await installation.executor.dispatch("test_count", installation.target(), path=str(counted))
    assert await first.ended() == -9
    await installation.agent(**once)
    receipt = await installation.executor.ended(operation_id)
    await _quiet(installation, operation_id)
    assert receipt.outcome == outcome
    assert {one.outcome for one in _receipts(installation, operation_id)} == {outcome}
    lines = counted.read_text().splitlines() if counted.exists() else []
    assert lines == [operation_id] * effects
    assert receipt.effect == {"succeeded": "done", "failed": "none", "unknown": "maybe"}[outcome]


async def test_killed_while_it_runs_its_processes_end_with_the_next_start(installation: Installation) -> None:
    first = await installation.agent()
    operation_id = await installation.executor.dispatch("test_sleep", installation.target(), stubborn=True)
    await installation.executor.until(lambda: bool(installation.executor.progress))
    first.process.kill()
    await first.ended()
    await eventually(lambda: _left(operation_id), what="a process that outlives the agent")
    await installation.agent()
    receipt = await installation.executor.ended(operation_id)
    assert (receipt.outcome, receipt.over) == ("unknown", True)
    assert living(operation_id) == []


def _receipts(installation: Installation, operation_id: str) -> list[Receipt]:
    return [one for one in installation.executor.signed_receipts() if one.operation_id == operation_id]


async def _left(operation_id: str) -> bool:  # one look may miss a process that forks in it
    return bool(living(operation_id))


async def _quiet(installation: Installation, operation_id: str) -> None:
    """Wait until the agent has no operation in flight, and has completed another one since."""
    await installation.executor.ended(await installation.executor.dispatch("test_noop", installation.target()))
    await installation.installation.quiet(operation_id)
