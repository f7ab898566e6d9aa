"""Cancel, timeout and shutdown end the operation, and its receipt is true."""

import asyncio
from typing import Any

import pytest
from tests.agent.conftest import TARGET, World, until

from writ_agent.backends.port import Progress, Task, TaskResult
from writ_agent.work.running import RunningOperation
from writ_contracts.agents import Claim, ClaimReply
from writ_contracts.signing import Signed
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.fakes.backend import FakeBackend
from writ_testing.fakes.scripted_executor import DispatchedOperation
from writ_trust.keys import Key, generate_seed


def ignored(message: str) -> None:
    """Take the progress of an operation."""


async def asleep(world: World, **parameters: Any) -> str:
    """Start a test_sleep."""
    operation_id = await world.executor.dispatch("test_sleep", TARGET, **parameters)
    await until(lambda: bool(world.backend.tasks))
    return operation_id


async def test_a_cancelled_operation_has_stopped_when_the_answer_says_so(world: World) -> None:
    await world.agent()
    operation_id = await asleep(world)
    cancelled = await world.executor.cancel(operation_id)
    assert cancelled.result == "stopped"
    receipt = await world.executor.ended(operation_id)
    assert (receipt.outcome, receipt.over) == ("cancelled", True)


async def test_a_cancel_of_what_has_ended_says_that_nothing_runs(world: World) -> None:
    await world.agent()
    operation_id = await world.executor.dispatch("test_noop", TARGET)
    await world.executor.ended(operation_id)
    beats = len(world.executor.heartbeats)
    await world.executor.until(lambda: len(world.executor.heartbeats) > beats + 1)  # the receipt is acknowledged
    assert (await world.executor.cancel(operation_id)).result == "not_running"


async def test_operation_that_does_not_stop_is_unconfirmed_and_unknown(world: World) -> None:
    world.backend.deaf = True
    await world.agent()
    operation_id = await asleep(world, timeout=3)
    assert (await world.executor.cancel(operation_id)).result == "not_confirmed"
    receipt = await world.executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect, receipt.over) == ("unknown", "maybe", False)


async def test_cancel_is_not_confirmed_while_the_host_continues_the_operation(world: World) -> None:
    async def handed_over(task: Task, progress: Progress) -> TaskResult:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return TaskResult(
                outcome="unknown", code="cancelled", message="the unit is activating (start)", effect="maybe"
            )
        raise AssertionError("it is always stopped")

    world.backend.scripts["test_sleep"] = handed_over
    await world.agent()
    operation_id = await asleep(world)
    assert (await world.executor.cancel(operation_id)).result == "not_confirmed"
    assert (await world.executor.ended(operation_id)).outcome == "unknown"


@pytest.mark.parametrize(
    "changed",
    [
        {"signer": Key(generate_seed())},
        {"effect": "deny"},
        {"operation": "audit_read"},
        {"dry_run": True},
        {"parameters_digest": "0" * 64},
        {"authenticated": "nobody"},
        {"principal": "mallory"},
    ],
    ids=[
        "forged",
        "denied",
        "another operation",
        "dry",
        "about another operation id",
        "simulated",
        "another principal's operation",
    ],
)
async def test_a_cancel_that_policy_did_not_allow_is_refused_and_reported(changed: Any, world: World) -> None:
    await world.agent()
    go_on = world.held("test_sleep")
    operation_id = await asleep(world)
    cancelled = await world.executor.cancel(operation_id, **changed)
    assert cancelled.error is not None
    go_on.set()
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == ["forged_cancel"])
    assert (await world.executor.ended(operation_id)).outcome == "succeeded"


async def test_a_cancel_between_claim_and_grant_means_that_it_never_begins(world: World) -> None:
    claimed, may_answer = asyncio.Event(), asyncio.Event()

    async def slowly(work: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        claimed.set()
        await may_answer.wait()
        return await world.executor.grant(work, claim, signed)

    world.executor.answering = slowly
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    await claimed.wait()
    assert (await world.executor.cancel(operation_id)).result == "stopped"
    may_answer.set()
    receipt = await world.executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect) == ("cancelled", "none")
    assert world.backend.tasks == []


async def test_a_cancel_before_the_first_step_of_an_operation_means_that_it_never_begins() -> None:
    operation, backend = load_catalogue()["test_sleep"], FakeBackend()
    task = Task(
        operation_id="a" * 26,
        attempt=1,
        operation=operation,
        target=TARGET,
        parameters=operation.check({"seconds": 60}),
        timeout=90.0,
    )
    running = RunningOperation(backend, task, ignored, 1.0)
    assert await running.stop("cancel")
    done = await running.wait()
    assert (done.outcome, done.effect, backend.tasks) == ("cancelled", "none", [])


async def test_operation_is_ended_at_its_timeout(world: World) -> None:
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x", delay=60, timeout=1)
    receipt = await world.executor.ended(operation_id)
    assert (receipt.outcome, receipt.code, receipt.effect, receipt.over) == ("failed", "timeout", "none", True)
    assert world.backend.effects == []
    assert 900 < receipt.duration_ms < 60_000


async def test_operation_with_a_possible_effect_at_its_timeout_is_unknown(world: World) -> None:
    await world.agent()
    receipt = await world.executor.ended(await world.executor.dispatch("test_sleep", TARGET, timeout=1))
    assert (receipt.outcome, receipt.code, receipt.effect, receipt.over) == ("unknown", "timeout", "maybe", True)


async def test_timeout_that_the_host_saw_as_a_cancel_is_reported_as_a_timeout(world: World) -> None:
    async def end(task: Task, progress: Progress) -> TaskResult:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return TaskResult(outcome="unknown", code="cancelled", message="its job goes on", effect="maybe")
        raise AssertionError("it is always stopped")

    world.backend.scripts["test_sleep"] = end
    await world.agent()
    receipt = await world.executor.ended(await world.executor.dispatch("test_sleep", TARGET, timeout=1))
    assert (receipt.outcome, receipt.code, receipt.effect) == ("unknown", "timeout", "maybe")


async def test_operation_that_succeeds_during_its_cancel_has_succeeded(world: World) -> None:
    async def finish(task: Task, progress: Progress) -> TaskResult:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return TaskResult(outcome="succeeded", effect="done")
        raise AssertionError("it is always stopped")

    world.backend.scripts["test_sleep"] = finish
    await world.agent()
    operation_id = await asleep(world)
    assert (await world.executor.cancel(operation_id)).result == "stopped"
    assert (await world.executor.ended(operation_id)).outcome == "succeeded"


async def test_a_stopping_agent_lets_what_is_short_end_and_takes_nothing_new(world: World) -> None:
    agent = await world.agent(stop_grace=20.0)
    go_on = world.held("test_sleep")
    operation_id = await asleep(world)
    stopping = asyncio.create_task(agent.stop())
    await world.executor.until(lambda: any(beat.leaving for beat in world.executor.heartbeats))
    late = await world.executor.dispatch("test_count", TARGET, path="/x")
    go_on.set()
    await stopping
    assert (await world.executor.ended(operation_id)).outcome == "succeeded"
    assert world.executor.operations[late].claims == []
    assert world.executor.heartbeats[-1].leaving


async def test_a_stopping_agent_ends_what_is_long_and_its_receipt_is_there(world: World) -> None:
    agent = await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x", delay=60)
    await until(lambda: bool(world.backend.tasks))
    await agent.stop()
    receipt = next(one for one in world.executor.signed_receipts() if one.operation_id == operation_id)
    assert (receipt.outcome, receipt.code, receipt.effect) == ("failed", "agent_stopped", "none")
