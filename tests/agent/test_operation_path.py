"""The normal way of an operation through an agent."""

import asyncio
from typing import Any

import pytest
from msgspec import structs
from tests.agent.conftest import POOL, TARGET, World, until

from writ_agent.backends.port import Progress, Task, TaskResult
from writ_agent.reporting import progress
from writ_agent.work import worker
from writ_contracts.agents import Claim, ClaimReply, Receipt
from writ_contracts.errors import Denied
from writ_contracts.journal import Dispatched, DispatchedAtOnce, Requested
from writ_contracts.requests import Verdict
from writ_contracts.signing import Signed
from writ_testing.call_path import recorded_path
from writ_testing.fakes.scripted_executor import DispatchedOperation
from writ_trust.digests import derive, keyed_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import digest, open_signed, sign


async def test_a_dispatched_operation_is_claimed_run_once_and_reported(world: World) -> None:
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    receipt = await world.executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect, receipt.over, receipt.pool) == ("succeeded", "done", True, POOL)
    assert world.backend.effects == [operation_id]
    dispatched = world.executor.operations[operation_id]
    assert dispatched.answer is not None
    assert dispatched.answer.grant is not None
    assert receipt.grant_digest == digest(dispatched.answer.grant)


def keyed(world: World, output: dict[str, Any]) -> str:
    """The digest in the record: short secrets cannot be guessed from it."""
    return keyed_digest(derive(world.key.seed, "writ.contents", TARGET.id), output)


async def test_the_receipt_is_signed_and_has_the_public_output_with_the_digest_of_all_of_it(world: World) -> None:
    await world.agent()
    operation_id = await world.executor.dispatch("test_secret", TARGET, secret="hunter2", label="x")
    await world.executor.ended(operation_id)
    message = world.executor.receipts[0]
    receipt = open_signed(message.receipt, Receipt, {world.key.public}, "")
    assert b"hunter2" not in bytes(message.receipt.payload)
    assert message.full_output["secret"] == "hunter2"
    assert receipt.output_digest == keyed(world, message.full_output)


async def test_receipt_has_only_a_digest_of_outputs_that_the_journal_omits(world: World) -> None:
    honest = world.executor.answering

    async def without(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply | None:
        answer = await honest(dispatched, claim, signed)
        return None if answer is None else structs.replace(answer, outputs=False)

    world.executor.answering = without
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    receipt = await world.executor.ended(operation_id)
    message = world.executor.receipts[0]
    assert (receipt.output, receipt.state) == ({}, {})
    assert message.full_output == {"lines": 1}
    assert receipt.output_digest == keyed(world, message.full_output)


async def test_the_baseline_is_taken_under_its_read_grant_and_goes_with_the_claim(world: World) -> None:
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    await world.executor.ended(operation_id)
    assert world.backend.looks == ["baseline"]
    assert b'"baseline":{"effects":0}' in bytes(world.executor.operations[operation_id].claims[0].payload)


async def test_agent_without_a_read_grant_reads_nothing(world: World) -> None:
    await world.agent()
    operation_id = await world.executor.dispatch("test_noop", TARGET)
    await world.executor.ended(operation_id)
    assert world.backend.looks == []


async def test_an_event_that_comes_again_is_not_run_again(world: World) -> None:
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    await world.executor.ended(operation_id)
    await world.executor.append(world.executor.operations[operation_id].work)
    other = await world.executor.dispatch("test_count", TARGET, path="/x")
    await world.executor.ended(other)
    assert world.backend.effects == [operation_id, other]
    assert len(world.executor.operations[operation_id].claims) == 1


async def test_eight_agents_on_one_request_run_it_once(world: World) -> None:
    for number in range(8):
        await world.agent(state=f"state-{number}")
    ids = [await world.executor.dispatch("test_count", TARGET, path="/x") for _ in range(20)]
    for operation_id in ids:
        await world.executor.ended(operation_id)
    assert sorted(world.backend.effects) == sorted(ids)


async def test_agent_of_another_pool_gets_no_dispatched_operation(world: World) -> None:
    await world.agent(pool="pool-2", state="other")
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    await world.agent()
    receipt = await world.executor.ended(operation_id)
    assert receipt.pool == POOL


async def test_heartbeats_name_what_runs_and_what_ended(world: World) -> None:
    await world.agent(slots=3)
    go_on = world.held("test_sleep")
    operation_id = await world.executor.dispatch("test_sleep", TARGET)
    beats = world.executor.heartbeats
    await world.executor.until(lambda: bool(beats) and beats[-1].running == [operation_id])
    assert beats[-1].free_slots == 2
    go_on.set()
    await world.executor.ended(operation_id)
    await world.executor.until(lambda: beats[-1].running == [] and beats[-1].free_slots == 3)


async def test_progress_is_relayed_at_most_twice_a_second(world: World) -> None:
    async def chatty(task: Task, progress: Progress) -> TaskResult:
        progress("first" + "." * 1000)
        await world.executor.until(lambda: len(words) == 1)
        for number in range(100):
            progress(f"{number} of 100" + "." * 1000)
        await world.executor.until(lambda: len(words) == 2)
        return TaskResult(outcome="succeeded")

    words = world.executor.progress

    world.backend.scripts["test_noop"] = chatty
    await world.agent()
    operation_id = await world.executor.dispatch("test_noop", TARGET)
    await world.executor.ended(operation_id)
    assert [word.message.rstrip(".") for word in words] == ["first", "99 of 100"]
    assert {word.operation_id for word in words} == {operation_id}
    assert all(len(word.message) <= 500 for word in words)


async def test_host_that_is_slow_to_reply_before_the_claim_is_reported_to_the_requester(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LATE_SECONDS", 0.2)
    go_on = asyncio.Event()

    async def slow(task: Task) -> dict[str, object]:
        await go_on.wait()
        return {}

    world.backend.baseline = slow  # type: ignore[method-assign]
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    await world.executor.until(lambda: bool(world.executor.silences))
    (reported,) = world.executor.silences
    assert (reported.operation_id, reported.principal, reported.silent) == (operation_id, "alice", TARGET.id)
    text = f"{TARGET.id} has not replied for more than 0.2 s to a read of its state; nothing has run"
    assert (reported.message, reported.claimed) == (text, False)
    assert world.executor.operations[operation_id].claims == []
    go_on.set()
    assert (await world.executor.ended(operation_id)).outcome == "succeeded"


async def test_refusal_of_a_backend_fails_without_effect(world: World) -> None:
    async def refuse(task: Task, progress: Progress) -> TaskResult:
        raise Denied("not here", code="permission_denied")

    world.backend.scripts["test_count"] = refuse
    await world.agent()
    receipt = await world.executor.ended(await world.executor.dispatch("test_count", TARGET, path="/x"))
    assert (receipt.outcome, receipt.code, receipt.effect) == ("failed", "permission_denied", "none")


async def test_a_defect_of_a_backend_is_unknown_for_a_change_and_its_message_is_not_reported(world: World) -> None:
    async def broken(task: Task, progress: Progress) -> TaskResult:
        raise RuntimeError("secret words")

    world.backend.scripts |= {"test_count": broken, "test_noop": broken}
    await world.agent()
    change = await world.executor.ended(await world.executor.dispatch("test_count", TARGET, path="/x"))
    assert (change.outcome, change.effect, change.code) == ("unknown", "maybe", "internal")
    assert "secret words" not in change.message
    reading = await world.executor.ended(await world.executor.dispatch("test_noop", TARGET))
    assert (reading.outcome, reading.effect) == ("failed", "none")


async def test_a_backend_whose_run_and_stop_both_break_still_gets_a_receipt(world: World) -> None:
    async def broken(task: Task, progress: Progress) -> TaskResult:
        raise RuntimeError("run broke")

    async def stop_breaks(operation_id: str, grace: float) -> bool:
        raise RuntimeError("stop broke")

    world.backend.scripts |= {"test_count": broken, "test_noop": broken}
    world.backend.stop = stop_breaks  # type: ignore[method-assign]
    await world.agent()
    change = await world.executor.ended(await world.executor.dispatch("test_count", TARGET, path="/x"))
    assert (change.outcome, change.effect, change.code, change.over) == ("unknown", "maybe", "internal", False)
    reading = await world.executor.ended(await world.executor.dispatch("test_noop", TARGET))
    assert (reading.outcome, reading.effect) == ("failed", "none")


@pytest.mark.parametrize("by_handler", [False, True], ids=["coroutine", "handler"])
async def test_a_backend_that_cancels_itself_leaves_a_change_unknown(world: World, by_handler: bool) -> None:
    async def cancels_itself(task: Task, progress: Progress) -> TaskResult:
        lost: asyncio.Future[TaskResult] = asyncio.get_running_loop().create_future()
        lost.cancel()
        return await lost  # as a client library whose connection is closed

    world.backend.scripts |= {"test_count": cancels_itself, "test_noop": cancels_itself}
    if by_handler:  # without the task of its own that CoroutineHandler gives it
        world.backend.run = cancels_itself  # type: ignore[method-assign]
    await world.agent()
    change = await world.executor.ended(await world.executor.dispatch("test_count", TARGET, path="/x"))
    assert (change.outcome, change.effect) == ("unknown", "maybe")
    reading = await world.executor.ended(await world.executor.dispatch("test_noop", TARGET))
    assert (reading.outcome, reading.effect) == ("failed", "none")


async def test_an_output_that_cannot_be_reported_is_a_defect_not_a_lost_operation(world: World) -> None:
    async def odd(task: Task, progress: Progress) -> TaskResult:
        return TaskResult(outcome="succeeded", output={"object": object()}, effect="done")

    world.backend.scripts["test_count"] = odd
    await world.agent()
    receipt = await world.executor.ended(await world.executor.dispatch("test_count", TARGET, path="/x"))
    assert (receipt.outcome, receipt.effect) == ("unknown", "maybe")


async def test_the_receipt_stays_small_however_much_is_put_out(world: World) -> None:
    async def loud(task: Task, progress: Progress) -> TaskResult:
        return TaskResult(
            outcome="succeeded",
            output={"echo": "x" * 900_000, "digest": "y" * 900_000},
            state={"a": "z" * 99_999},
            message="\x01" * 5_000,
        )

    world.backend.scripts["test_secret"] = loud
    await world.agent()
    operation_id = await world.executor.dispatch("test_secret", TARGET, secret="x")
    receipt = await world.executor.ended(operation_id)
    message = world.executor.receipts[0]
    assert len(bytes(message.receipt.payload)) <= 28 * 1024  # twice that, in the event that brings it, is not too much
    assert receipt.output["digest"].startswith("yyy")
    assert receipt.output_bytes > 1_800_000
    assert message.full_output == {"omitted_bytes": receipt.output_bytes}


async def test_an_event_that_cannot_be_read_is_dropped_and_the_agent_goes_on(world: World) -> None:
    await world.agent()
    operation_id = await world.executor.dispatch("test_noop", TARGET)
    await world.executor.ended(operation_id)
    work = world.executor.operations[operation_id].work
    await world.executor.append_raw(work, b"\x00not json")
    await world.executor.append_raw(work, b"{}")
    await world.executor.ended(await world.executor.dispatch("test_noop", TARGET))
    await until(lambda: world.broker.disk.consumer(f"agent-{POOL}").next_due() is None)


async def test_worker_has_a_short_path_to_the_verification(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recorded_path(monkeypatch, worker, "verify_grant")
    await world.agent()
    await world.executor.ended(await world.executor.dispatch("test_count", TARGET, path="/x"))
    assert path.is_short, path


def request_of(work: Dispatched, *, dispatched: bool = True) -> Requested:
    """The request that is dispatched by its own event, and has this `dispatched` in it."""
    same = {name: getattr(work, name) for name in Requested.__struct_fields__ if hasattr(work, name)}
    terms = DispatchedAtOnce(start_by=work.start_by, decision_digest="0" * 64)
    given: dict[str, Any] = {
        **same,
        "risk": "read",
        "idempotent": True,
        "key": "U",
        "effective": work.parameters,
        "hidden": [],
        "parameters_digest": "0" * 64,
        "fingerprint": "",
        "verdict": Verdict(decision="allow", rules=[], reason="", code="allowed"),
        "decision": sign(Key(generate_seed()), work),
        "dispatched": terms if dispatched else None,
    }
    return Requested(**given)


async def test_a_request_that_is_dispatched_at_once_is_carried_out_like_a_dispatched_operation(world: World) -> None:
    await world.agent()
    world.executor.request_of = request_of
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    receipt = await world.executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect, receipt.attempt) == ("succeeded", "done", 1)
    assert world.backend.looks == ["baseline"]
    assert world.backend.effects == [operation_id]


async def test_a_request_that_is_not_dispatched_is_dropped(world: World) -> None:
    await world.agent()
    world.executor.request_of = lambda work: request_of(work, dispatched=False)
    dropped = await world.executor.dispatch("test_count", TARGET, path="/y")
    world.executor.request_of = None
    done = await world.executor.dispatch("test_count", TARGET, path="/x")
    await world.executor.ended(done)
    assert world.backend.effects == [done]
    assert world.executor.operations[dropped].claims == []
