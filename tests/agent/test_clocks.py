"""Agents on hosts with wrong, stepping or suspended clocks: read grants and grants are valid for their exact period."""

import time

import pytest
from tests.agent.conftest import POOL, TARGET, World, until
from tests.agent.test_host_reads import ask

from writ_contracts.agents import Claim, ClaimReply
from writ_contracts.signing import Signed
from writ_testing.fakes.scripted_executor import DispatchedOperation
from writ_testing.host_clocks import ClockedHost

DAY = 86_400.0
WRONG = [120.0, -120.0, 3_600.0, -3_600.0, DAY, -DAY]


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_read_grant_holds_on_a_host_whose_clock_is_wrong(world: World, wrong: float) -> None:
    await world.agent(clocks=ClockedHost(wall=wrong).clocks)
    for action in ("preview", "baseline", "probe"):
        looked = await world.executor.request_read(ask(world, action), POOL)
        assert looked.error is None


@pytest.mark.parametrize("wrong", [0.0, *WRONG])
async def test_an_expired_read_grant_is_expired_on_a_host_whose_clock_is_wrong(world: World, wrong: float) -> None:
    await world.agent(clocks=ClockedHost(wall=wrong).clocks)
    looked = await world.executor.request_read(ask(world, "preview", expires_at=time.time() - 1.0), POOL)
    assert looked.error is not None
    assert looked.error.code == "look_expired"


@pytest.mark.parametrize("step", WRONG)
async def test_a_step_of_the_clock_leaves_the_baseline_and_the_grant_as_they_are(world: World, step: float) -> None:
    host = ClockedHost()

    async def stepping(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        host.step(step)
        return await world.executor.grant(dispatched, claim, signed)

    world.executor.answering = stepping
    await world.agent(clocks=host.clocks)
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    assert (await world.executor.ended(operation_id)).outcome == "succeeded"
    assert world.backend.looks == ["baseline"]
    second = await world.executor.dispatch("test_count", TARGET, path="/x")
    assert (await world.executor.ended(second)).outcome == "succeeded"
    assert world.backend.looks == ["baseline", "baseline"]


@pytest.mark.parametrize("slept", [31.0, DAY])
async def test_a_host_that_slept_between_claim_and_start_runs_nothing(world: World, slept: float) -> None:
    """CLOCK_MONOTONIC stands still in suspend: by it, a grant of 30 s would hold until the next morning."""
    host = ClockedHost()

    async def asleep(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        answer = await world.executor.grant(dispatched, claim, signed)
        host.suspend(slept)
        return answer

    world.executor.answering = asleep
    await world.agent(clocks=host.clocks)
    receipt = await world.executor.ended(await world.executor.dispatch("test_count", TARGET, path="/x"))
    assert (receipt.outcome, receipt.effect) == ("failed", "none")
    assert world.backend.effects == []
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == ["expired_grant"])


async def test_heartbeats_report_only_a_clock_that_is_off(world: World) -> None:
    host = ClockedHost()
    await world.agent(clocks=host.clocks)
    await until(lambda: bool(world.executor.heartbeats))
    assert world.executor.heartbeats[-1].skew is None
    host.step(-7.0)

    def skew_is_reported() -> bool:
        skew = world.executor.heartbeats[-1].skew
        return skew is not None and -7.5 < skew < -6.5

    await until(skew_is_reported)


async def test_operation_that_an_executor_counts_as_lost_runs_alone_on_its_target(world: World) -> None:
    """The host alone slept: its operation counts as `unknown`, and the next one on the target is dispatched."""
    go_on = world.held("test_count")
    await world.agent()
    first = await world.executor.dispatch("test_count", TARGET, path="/x")
    await until(lambda: len(world.backend.tasks) == 1)
    second = await world.executor.dispatch("test_count", TARGET, path="/x")
    reading = await world.executor.dispatch("test_noop", TARGET)
    assert (await world.executor.ended(reading)).outcome == "succeeded"
    consumer = world.broker.disk.consumer(f"agent-{POOL}")
    await until(lambda: consumer.next_due() is not None)
    assert [task.operation_id for task in world.backend.tasks if task.operation.name == "test_count"] == [first]
    assert not world.executor.asked[second].claims
    go_on.set()
    assert (await world.executor.ended(first)).outcome == "succeeded"
    assert (await world.executor.ended(second)).outcome == "succeeded"
