"""kill -9 of the SSH agent at every step: the operation ends once, its effect happens at most once, and what is said of
it is so. The host goes on without the agent, and tells the next one.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.agent_ssh.ssh_installation import POOL, House, ssh_house

from writ_contracts.agents import AskRead, Receipt
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
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with ssh_house(tmp_path) as house:
        yield house


@pytest.mark.parametrize(
    ("moment", "outcome"), some(MOMENTS.items(), ("ssh.connected", "failed"), ("agent.ran", "succeeded"))
)
async def test_killed_at(moment: str, outcome: str, house: House, tmp_path: Path) -> None:
    operation_id, receipt = await killed(house, tmp_path, moment)
    assert receipt.outcome == outcome
    assert house.effects() == [operation_id] * (outcome == "succeeded")
    assert receipt.effect == {"succeeded": "done", "failed": "none"}[outcome]


async def test_killed_when_it_has_just_been_sent_the_host_knows_whether_it_came(house: House, tmp_path: Path) -> None:
    operation_id, receipt = await killed(house, tmp_path, "ssh.asked")
    await eventually(lambda: house.idle(operation_id))
    assert len(house.effects()) <= 1
    if receipt.outcome == "unknown":
        assert (receipt.code, receipt.over) == ("still_running", False)
        assert await verdict(house, operation_id) == ("took_effect" if house.effects() else "no_effect")
    else:
        assert receipt.outcome == ("succeeded" if house.effects() else "failed")


@pytest.mark.exhaustive  # it runs for 20 s
async def test_killed_while_it_runs_the_host_finishes_it_and_a_probe_tells(house: House) -> None:
    first = await house.agent()
    operation_id = await house.executor.dispatch("test_count", house.target(), path=str(house.counted), delay=20.0)
    await house.executor.until(lambda: bool(house.executor.progress))
    first.process.kill()
    await first.ended()
    await house.agent()
    receipt = await house.executor.ended(operation_id)
    assert (receipt.outcome, receipt.code, receipt.over) == ("unknown", "still_running", False)
    assert await verdict(house, operation_id) in ("unknown", "took_effect")
    await eventually(lambda: _counted(house, operation_id), within=40.0)
    await eventually(lambda: house.idle(operation_id))
    assert await verdict(house, operation_id) == "took_effect"


async def test_killed_for_longer_than_it_runs_its_own_result_is_told(house: House) -> None:
    first = await house.agent()
    operation_id = await house.executor.dispatch("test_count", house.target(), path=str(house.counted), delay=0.5)
    await house.executor.until(lambda: bool(house.executor.progress))
    first.process.kill()
    await first.ended()
    await eventually(lambda: _counted(house, operation_id))
    await eventually(lambda: house.idle(operation_id))
    await house.agent()
    receipt = await house.executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect, receipt.output) == ("succeeded", "done", {"lines": 1})


async def test_killed_and_the_host_is_away_nobody_can_tell_and_it_may_still_run(house: House) -> None:
    first = await house.agent()
    operation_id = await house.executor.dispatch("test_count", house.target(), path=str(house.counted), delay=30.0)
    await house.executor.until(lambda: bool(house.executor.progress))
    first.process.kill()
    await first.ended()
    await house.server.stop()
    await house.agent()
    receipt = await house.executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect, receipt.over) == ("unknown", "maybe", False)


async def killed(house: House, folder: Path, moment: str) -> tuple[str, Receipt]:
    """A test_count during which an agent died at that moment; what the next one said of it, which is all that was."""
    once = {"WRIT_FAULT": moment, "WRIT_FAULT_ONCE": str(folder / "once")}
    first = await house.agent(**once)
    operation_id = await house.executor.dispatch("test_count", house.target(), path=str(house.counted))
    assert await first.ended() == -9
    await house.agent(**once)
    receipt = await house.executor.ended(operation_id)
    await house.executor.ended(await house.executor.dispatch("test_noop", house.target()))
    await house.house.quiet(operation_id)
    told = {one.outcome for one in house.executor.signed_receipts() if one.operation_id == operation_id}
    assert told == {receipt.outcome}
    return operation_id, receipt


async def verdict(house: House, operation_id: str) -> str | None:
    """What an executor that asks is told."""
    asked, key = house.executor.asked[operation_id], secrets.token_hex(32)
    parameters = asked.work.parameters
    look = house.executor.look(operation_id, "test_count", asked.target, ["probe"], parameters, key)
    ask = AskRead(look=look, action="probe", parameters=parameters, look_key=key, baseline={}, timeout=20.0)
    return (await asyncio.wait_for(house.executor.ask_look(ask, POOL), 30)).verdict


async def _counted(house: House, operation_id: str) -> bool:
    return house.effects() == [operation_id]
