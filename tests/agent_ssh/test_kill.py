"""kill -9 of the SSH agent at every step: one end, at most one effect, and a true report.

The host continues without the agent, and reports to the next one.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.agent_ssh.ssh_installation import POOL, Installation, ssh_installation

from writ_contracts.agents import ReadRequest, Receipt
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some

MOMENTS = {
    "agent.pulled": "succeeded",
    "agent.claimed": "failed",
    "agent.intent": "failed",
    "ssh.connected": "failed",
    "agent.ran": "succeeded",
    "agent.receipt_spooled": "succeeded",
    "agent.receipt_sent": "succeeded",
}
"""What the first receipt says."""


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with ssh_installation(tmp_path) as installation:
        yield installation


@pytest.mark.parametrize(
    ("moment", "outcome"), some(MOMENTS.items(), ("ssh.connected", "failed"), ("agent.ran", "succeeded"))
)
async def test_outcome_is_true_after_an_agent_killed_at(
    moment: str, outcome: str, installation: Installation, tmp_path: Path
) -> None:
    operation_id, receipt = await killed(installation, tmp_path, moment)
    assert receipt.outcome == outcome
    assert installation.effects() == [operation_id] * (outcome == "succeeded")
    assert receipt.effect == {"succeeded": "done", "failed": "none"}[outcome]


async def test_host_knows_whether_the_request_of_a_killed_agent_arrived(
    installation: Installation, tmp_path: Path
) -> None:
    operation_id, receipt = await killed(installation, tmp_path, "ssh.asked")
    await eventually(lambda: installation.idle(operation_id))
    assert len(installation.effects()) <= 1
    if receipt.outcome == "unknown":
        assert (receipt.code, receipt.over) == ("still_running", False)
        assert await verdict(installation, operation_id) == ("took_effect" if installation.effects() else "no_effect")
    else:
        assert receipt.outcome == ("succeeded" if installation.effects() else "failed")


@pytest.mark.exhaustive  # it runs for 20 s
async def test_killed_while_it_runs_the_host_finishes_it_and_a_probe_reports_it(installation: Installation) -> None:
    first = await installation.agent()
    operation_id = await installation.executor.dispatch(
        "test_count", installation.target(), path=str(installation.counted), delay=20.0
    )
    await installation.executor.until(lambda: bool(installation.executor.progress))
    first.process.kill()
    await first.ended()
    await installation.agent()
    receipt = await installation.executor.ended(operation_id)
    assert (receipt.outcome, receipt.code, receipt.over) == ("unknown", "still_running", False)
    assert await verdict(installation, operation_id) in ("unknown", "took_effect")
    await eventually(lambda: _counted(installation, operation_id), within=40.0)
    await eventually(lambda: installation.idle(operation_id))
    assert await verdict(installation, operation_id) == "took_effect"


async def test_result_is_reported_if_the_agent_was_dead_for_longer_than_the_operation_ran(
    installation: Installation,
) -> None:
    first = await installation.agent()
    operation_id = await installation.executor.dispatch(
        "test_count", installation.target(), path=str(installation.counted), delay=0.5
    )
    await installation.executor.until(lambda: bool(installation.executor.progress))
    first.process.kill()
    await first.ended()
    await eventually(lambda: _counted(installation, operation_id))
    await eventually(lambda: installation.idle(operation_id))
    await installation.agent()
    receipt = await installation.executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect, receipt.output) == ("succeeded", "done", {"lines": 1})


async def test_effect_is_unknown_and_perhaps_not_over_if_agent_and_host_are_gone(installation: Installation) -> None:
    first = await installation.agent()
    operation_id = await installation.executor.dispatch(
        "test_count", installation.target(), path=str(installation.counted), delay=30.0
    )
    await installation.executor.until(lambda: bool(installation.executor.progress))
    first.process.kill()
    await first.ended()
    await installation.server.stop()
    await installation.agent()
    receipt = await installation.executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect, receipt.over) == ("unknown", "maybe", False)


async def killed(installation: Installation, folder: Path, moment: str) -> tuple[str, Receipt]:
    """Kill an agent at that moment of a test_count; return the next agent's only report."""
    once = {"WRIT_FAULT": moment, "WRIT_FAULT_ONCE": str(folder / "once")}
    first = await installation.agent(**once)
    operation_id = await installation.executor.dispatch(
        "test_count", installation.target(), path=str(installation.counted)
    )
    assert await first.ended() == -9
    await installation.agent(**once)
    receipt = await installation.executor.ended(operation_id)
    await installation.executor.ended(await installation.executor.dispatch("test_noop", installation.target()))
    await installation.installation.quiet(operation_id)
    outcomes = {one.outcome for one in installation.executor.signed_receipts() if one.operation_id == operation_id}
    assert outcomes == {receipt.outcome}
    return operation_id, receipt


async def verdict(installation: Installation, operation_id: str) -> str | None:
    """Return the probe's reply to an executor."""
    dispatched, key = installation.executor.operations[operation_id], secrets.token_hex(32)
    parameters = dispatched.work.parameters
    look = installation.executor.read_grant(operation_id, "test_count", dispatched.target, ["probe"], parameters, key)
    ask = ReadRequest(look=look, action="probe", parameters=parameters, look_key=key, baseline={}, timeout=20.0)
    return (await asyncio.wait_for(installation.executor.request_read(ask, POOL), 30)).verdict


async def _counted(installation: Installation, operation_id: str) -> bool:
    return installation.effects() == [operation_id]
