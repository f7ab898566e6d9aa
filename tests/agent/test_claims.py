"""An agent's claims: no answer, late answers and refusals."""

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest
from tests.agent.conftest import POOL, TARGET, World, until

from writ_agent.work import claims
from writ_agent.work.worker import Worker
from writ_bus.port import Delivery
from writ_contracts.agents import Claim, ClaimReply
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed
from writ_documents.atomic_files import write_atomically
from writ_testing.fakes.scripted_executor import DispatchedOperation
from writ_testing.memory.bus import MemoryBus
from writ_trust.sealing import SealKey


@pytest.mark.usefixtures("impatient")
async def test_after_a_lost_answer_the_same_claim_is_sent_again_and_it_runs_once(world: World) -> None:
    lost = 2

    async def forget(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply | None:
        nonlocal lost
        lost -= 1
        return None if lost >= 0 else await world.executor.grant(dispatched, claim, signed)

    world.executor.answering = forget
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    receipt = await world.executor.ended(operation_id)
    assert receipt.outcome == "succeeded"
    sent = world.executor.operations[operation_id].claims
    assert len(sent) >= 3
    assert all(claim == sent[0] for claim in sent)
    assert world.backend.effects == [operation_id]


@pytest.mark.parametrize("late", [True, False], ids=["reply-to-the-first", "reply-to-the-second"])
async def test_claim_without_a_reply_is_sent_again_while_the_first_reply_may_still_come(
    world: World, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    monkeypatch.setattr("writ_agent.work.claims.ASK_SECONDS", 60.0)
    monkeypatch.setattr("writ_agent.work.claims.PATIENCE", 60.0)
    monkeypatch.setattr("writ_agent.work.claims.REPEAT_SECONDS", 0.1)
    repeated, turns = asyncio.Event(), 0

    async def first_hangs(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply | None:
        nonlocal turns
        turns += 1
        if turns > 1:
            repeated.set()
            return None if late else await world.executor.grant(dispatched, claim, signed)
        await repeated.wait()
        return await world.executor.grant(dispatched, claim, signed) if late else None

    world.executor.answering = first_hangs
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    assert (await world.executor.ended(operation_id)).outcome == "succeeded"
    assert world.backend.effects == [operation_id]


async def test_refusal_by_one_executor_is_not_final_while_another_may_have_granted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_agent.work.claims.ASK_SECONDS", 60.0)
    monkeypatch.setattr("writ_agent.work.claims.REPEAT_SECONDS", 0.1)
    send_once, declined, turns = claims._send_once, asyncio.Event(), 0

    async def noticed(*claim: Any) -> ClaimReply | None:
        reply = await send_once(*claim)
        if reply is not None and reply.error is not None:
            declined.set()
        return reply

    monkeypatch.setattr(claims, "_send_once", noticed)

    async def second_refuses(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply | None:
        nonlocal turns
        turns += 1
        if turns > 1:  # an executor that has not read the new agents.yaml yet, say
            return ClaimReply(error=Failure(code="forged_claim", message="an unknown key"))
        await declined.wait()
        for _ in range(50):
            await asyncio.sleep(0)  # the agent has read the refusal
        return await world.executor.grant(dispatched, claim, signed)

    world.executor.answering = second_refuses
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    assert (await world.executor.ended(operation_id)).outcome == "succeeded"
    assert world.backend.effects == [operation_id]


@pytest.mark.usefixtures("impatient")
async def test_agent_reports_that_an_unanswered_claim_ran_nothing(world: World) -> None:
    async def never(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply | None:
        return None

    world.executor.answering = never
    await world.agent()
    receipt = await world.executor.ended(await world.executor.dispatch("test_count", TARGET, path="/x"))
    assert (receipt.outcome, receipt.effect, receipt.code) == ("failed", "none", "not_begun")
    assert receipt.grant_digest is None
    assert world.backend.tasks == []


async def test_final_refusal_of_a_claim_ends_its_delivery(world: World) -> None:
    async def gone(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        return ClaimReply(error=Failure(code="gone", message="too late"))

    world.executor.answering = gone
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    await world.executor.until(lambda: bool(world.executor.operations[operation_id].claims))
    await until(lambda: world.broker.disk.consumer(f"agent-{POOL}").next_due() is None)
    assert len(world.executor.operations[operation_id].claims) == 1
    assert world.executor.receipts == []


@pytest.mark.parametrize(("code", "retry"), [("behind", True), ("timeout", True), ("internal", False)])
async def test_after_a_refusal_for_now_the_same_claim_is_sent_again(code: str, retry: bool, world: World) -> None:
    turns = 0

    async def later(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        nonlocal turns
        turns += 1
        return await world.executor.grant(dispatched, claim, signed)

    async def not_yet(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        world.executor.answering = later
        return ClaimReply(error=Failure(code=code, message="not yet", retry=retry))

    world.executor.answering = not_yet
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    assert (await world.executor.ended(operation_id)).outcome == "succeeded"
    assert turns == 1


@pytest.mark.usefixtures("impatient")
async def test_claim_is_not_repeated_before_an_executor_knows_that_nothing_ran(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply | None:
        return None

    handle, deliveries = Worker.handle, 0

    async def counted(self: Worker, delivery: Delivery) -> None:
        nonlocal deliveries
        deliveries += 1
        await handle(self, delivery)

    monkeypatch.setattr(Worker, "handle", counted)
    monkeypatch.setattr("writ_agent.work.worker.LONGEST_DELAY", 0.2)
    world.executor.answering = never
    world.executor.refusing = Failure(code="unavailable", message="later", retry=True)
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    beats = world.executor.heartbeats
    await until(lambda: bool(beats) and beats[-1].running == [operation_id] and beats[-1].free_slots == 8)
    dispatched = world.executor.operations[operation_id]
    dispatched.claims.clear()
    world.executor.answering = world.executor.grant
    enough = deliveries + 3
    await until(lambda: deliveries >= enough)
    assert dispatched.claims == []
    world.executor.refusing = None
    await world.executor.until(lambda: len(world.executor.receipts) == 2)
    assert [one.outcome for one in world.executor.signed_receipts()] == ["failed", "succeeded"]
    assert world.backend.effects == [operation_id]


async def test_report_on_a_given_up_claim_is_repeated_beside_another_claim(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply | None:
        dispatched.claims.clear()  # none of them started it
        return None

    monkeypatch.setattr("writ_agent.work.worker.LONGEST_DELAY", 0.2)
    monkeypatch.setattr(claims, "ASK_SECONDS", 0.1)
    monkeypatch.setattr(claims, "PATIENCE", 0.3)
    world.executor.answering, world.executor.unsettled = never, True
    agent = await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    await world.executor.ended(operation_id)
    monkeypatch.setattr(claims, "ASK_SECONDS", 60.0)
    monkeypatch.setattr(claims, "PATIENCE", 60.0)
    world.executor.answering = world.executor.grant
    await until(lambda: world.backend.effects == [operation_id])
    sent = len(world.executor.receipts)
    await world.executor.until(lambda: len(world.executor.receipts) > sent + 2)
    assert dict(agent._parts.spool.live) != {}
    world.executor.unsettled = False
    await until(lambda: not agent._parts.spool.live)
    assert {(one.outcome, one.code) for one in world.executor.signed_receipts()} == {
        ("failed", "not_begun"),
        ("succeeded", ""),
    }


async def test_operation_waits_until_an_executor_answers_its_claim(world: World) -> None:
    alone = World(world.folder / "alone")
    alone.executor.bus = MemoryBus(alone.broker)
    async with alone.stack:
        await alone.agent()
        operation_id = await alone.executor.dispatch("test_count", TARGET, path="/x")
        consumer = alone.broker.disk.consumer(f"agent-{POOL}")
        await until(lambda: consumer.next_due() is not None)
        await alone.executor.serve()
        assert (await alone.executor.ended(operation_id)).outcome == "succeeded"
        assert alone.backend.effects == [operation_id]


async def test_a_receipt_is_sent_until_it_is_stored(world: World) -> None:
    world.executor.refusing = Failure(code="unavailable", message="later", retry=True)
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    await until(lambda: world.backend.effects == [operation_id])
    beats = world.executor.heartbeats
    await world.executor.until(lambda: beats[-1].running == [operation_id] and beats[-1].free_slots == 8)
    world.executor.refusing = None
    assert (await world.executor.ended(operation_id)).outcome == "succeeded"
    await world.executor.until(lambda: beats[-1].running == [])


async def test_a_receipt_that_will_never_be_taken_is_set_aside(world: World) -> None:
    world.executor.refusing = Failure(code="forged_receipt", message="no", retry=False)
    await world.agent()
    await world.executor.dispatch("test_count", TARGET, path="/x")
    folder = world.folder / "state"
    await until(lambda: any(path.name.startswith("rejected-") for path in folder.iterdir()))


async def test_a_refused_receipt_is_set_aside_once_the_disk_has_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[OSError] = []

    def write(path: Path, data: bytes) -> None:
        if refused:
            raise refused.pop()
        write_atomically(path, data)

    monkeypatch.setattr("writ_agent.reporting.spool.write_atomically", write)
    world.executor.refusing = Failure(code="forged_receipt", message="no", retry=False)
    agent = await world.agent()
    refused += [OSError(errno.ENOSPC, "no space left on device")] * 3
    await world.executor.dispatch("test_count", TARGET, path="/x")
    folder = world.folder / "state"
    await until(lambda: any(path.name.startswith("rejected-") for path in folder.iterdir()))
    assert await agent.spool_check() is None


async def test_each_claim_has_a_key_of_its_own(world: World) -> None:
    keys: list[str] = []

    async def noted(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply | None:
        keys.append(claim.seal_to)
        return await world.executor.grant(dispatched, claim, signed)

    world.executor.answering = noted
    await world.agent()
    for number in range(3):
        operation_id = await world.executor.dispatch("test_count", TARGET, path=f"/{number}")
        assert (await world.executor.ended(operation_id)).outcome == "succeeded"
    assert len(set(keys)) == len(keys) == 3


def test_a_key_made_ahead_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SealKey] = []

    class NotedKey(SealKey):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(claims, "SealKey", NotedKey)
    keys = claims.SealKeys()
    keys.make_ahead()
    keys.make_ahead()
    assert len(made) == 1
    assert [keys.take(), keys.take()] == made
    assert len({key.public for key in made}) == 2
