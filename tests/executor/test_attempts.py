"""Attempts: late news of a former attempt counts, and no end hides a possible effect."""

from typing import Any

import pytest
from msgspec import structs
from tests.executor.agent_requests import heartbeat
from tests.executor.conftest import World
from tests.executor.test_lagging_replica import asleep, claim_at, first, leader_has

from writ_bus.port import Message
from writ_contracts import subjects
from writ_contracts.agents import Acknowledgement, ClaimReply, ReceiptMessage
from writ_contracts.errors import Denied, TimedOut, Unreachable
from writ_contracts.journal import Dispatched, SecurityEvent, Unknown
from writ_contracts.operations import Catalogue
from writ_contracts.wire import encode
from writ_executor.service import Executor
from writ_testing.fakes.scripted_agent import ClaimOutcome
from writ_testing.host_clocks import ClockedHost
from writ_trust.sealing import SealKey

START = {"parameters": {"service_name": "nginx", "timeout": 1}}
NOTHING: dict[str, Any] = {"outcome": "failed", "effect": "none", "code": "not_begun"}


async def second_attempt(world: World) -> tuple[Dispatched, ClaimOutcome, Dispatched]:
    """Return a service_start whose first attempt ended unobserved: (first, its fields, second)."""
    answer = await world.ask("service_start", **START)
    work = await world.work(answer.operation_id or "")
    held = await world.hands.claim(work)
    await world.hands.finish(work, held, outcome="unknown", code="agent_restarted", over=True)
    again = await world.work(work.operation_id)
    assert (work.attempt, again.attempt) == (1, 2)
    return work, held, again


async def code_of(world: World, operation_id: str) -> str:
    end = (await world.life(operation_id)).end
    assert isinstance(end, Unknown)
    return end.code


async def test_a_second_attempt_that_nobody_takes_leaves_unknown_and_the_firsts_receipt_settles_it(
    world: World,
) -> None:
    await world.executor(start_window=2.0)
    first, held, _ = await second_attempt(world)
    assert await world.outcome(first.operation_id) == "unknown"
    assert await code_of(world, first.operation_id) == "no_agent"
    assert (await world.hands.finish(first, held)).stored
    assert (await world.life(first.operation_id)).outcome == "succeeded"


async def test_a_second_attempt_that_policy_denies_leaves_unknown(world: World) -> None:
    await world.executor()
    first, _, again = await second_attempt(world)
    world.policy.grant_effects["service_start"] = "deny"
    assert (await world.hands.claim(again)).answer.grant is None
    assert await world.outcome(first.operation_id) == "unknown"
    assert await code_of(world, first.operation_id) == "denied"


async def test_a_cancel_before_a_second_attempt_does_not_claim_that_nothing_happened(world: World) -> None:
    await world.executor()
    first, _, _ = await second_attempt(world)
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": first.operation_id})
    assert await world.outcome(cancel.operation_id or "") == "unknown"
    assert await world.outcome(first.operation_id) == "unknown"


async def test_second_attempt_that_ran_nothing_leaves_the_first_unknown(world: World) -> None:
    await world.executor()
    first, _, again = await second_attempt(world)
    held = await world.hands.claim(again)
    await world.hands.finish(again, held, outcome="failed", code="grant_refused", effect="none")
    assert await world.outcome(first.operation_id) == "unknown"


async def test_a_second_attempt_that_did_something_and_failed_has_failed(world: World) -> None:
    await world.executor()
    first, _, again = await second_attempt(world)
    await world.hands.finish(again, await world.hands.claim(again), outcome="failed", code="exit", effect="done")
    assert await world.outcome(first.operation_id) == "failed"


@pytest.mark.parametrize("how", [{}, {"outcome": "unknown"}, {"outcome": "failed", "effect": "none"}])
async def test_a_late_receipt_of_the_first_attempt_neither_ends_the_second_nor_is_an_alarm(
    world: World, how: dict[str, Any]
) -> None:
    await world.executor()
    first, held, again = await second_attempt(world)
    await world.hands.claim(again)
    assert (await world.hands.finish(first, held, **how)).stored
    assert (await world.kinds(first.operation_id))[-1] == "granted"
    assert await world.events(subjects.SECURITY) == []


async def test_a_late_success_of_the_first_attempt_settles_what_three_attempts_left_unknown(world: World) -> None:
    await world.executor()
    first, held, again = await second_attempt(world)
    await world.hands.finish(again, await world.hands.claim(again), outcome="unknown", over=True)
    third = await world.work(first.operation_id)
    assert third.attempt == 3
    await world.hands.finish(third, await world.hands.claim(third), outcome="unknown", over=True)
    assert await world.outcome(first.operation_id) == "unknown"
    assert (await world.hands.finish(first, held)).stored
    assert (await world.life(first.operation_id)).outcome == "succeeded"


async def test_report_that_nothing_ran_counts_for_its_own_claim_alone(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", parameters={"service_name": "nginx"})
    work = await world.work(answer.operation_id or "")
    held = await world.hands.claim(work)
    lost = ClaimOutcome(world.hands.claim_for(work, SealKey()), ClaimReply(), {})
    assert await world.hands.finish(work, lost, **NOTHING) == Acknowledgement(stored=True)
    assert (await world.life(work.operation_id)).state == "started"
    assert await world.events(subjects.SECURITY) == []
    await world.hands.finish(work, structs.replace(held, answer=ClaimReply()), **NOTHING)
    assert await world.outcome(work.operation_id) == "failed"


async def test_report_that_nothing_ran_is_to_be_repeated_while_its_claim_may_be_granted(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", parameters={"service_name": "nginx"})
    work, seal = await world.work(answer.operation_id or ""), SealKey()
    claim = world.hands.claim_for(work, seal)
    given_up = ClaimOutcome(claim, ClaimReply(), {})
    assert await world.hands.finish(work, given_up, **NOTHING) == Acknowledgement(stored=True, unsettled=True)
    assert (await world.hands.send_claim(claim, work.principal, seal)).answer.grant
    assert await world.hands.finish(work, given_up, **NOTHING) == Acknowledgement(stored=True)
    assert await world.outcome(work.operation_id) == "failed"


async def receipt_at(one: Executor, world: World, work: Dispatched, held: ClaimOutcome, **how: Any) -> Acknowledgement:
    """Send a receipt to this replica: of success, unless `how` says otherwise."""
    message = ReceiptMessage(receipt=world.hands.receipt_for(work, held, **how), principal=work.principal)
    return await one.receipts.handle_receipt(Message(subjects.receipt(world.hands.pool), encode(message)))


@pytest.mark.parametrize(
    ("operation", "events"), [("service_restart", 1), ("service_restart", 2), ("service_start", 3)]
)
async def test_receipt_at_a_replica_that_reads_no_start_is_to_be_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch, operation: str, events: int
) -> None:
    """A former leader of the journal replies to reads until it hears of the new one."""
    await world.executor()
    work = await world.work((await world.ask(operation, parameters={"service_name": "nginx"})).operation_id or "")
    held = await world.hands.claim(work)
    if operation == "service_start":
        await world.hands.finish(work, held, outcome="unknown", over=True)
        work = await world.work(work.operation_id)
        held = await world.hands.claim(work)
    one = await asleep(world)
    leader_has(monkeypatch, await first(world, work.operation_id, events))
    with pytest.raises(Unreachable, match="is not stored here yet"):
        await receipt_at(one, world, work, held)
    monkeypatch.undo()
    assert (await receipt_at(one, world, work, held)).stored
    assert (await world.life(work.operation_id)).outcome == "succeeded"
    assert await world.events(subjects.SECURITY) == []


async def test_receipt_of_a_recovered_agent_is_to_be_sent_again_while_its_grant_is_not_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the grant and no claim. An agent of any release forgets what is acknowledged."""
    await world.executor()
    work = await world.work((await world.ask("service_restart", **START)).operation_id or "")
    held = await world.hands.claim(work)
    one = await asleep(world)
    leader_has(monkeypatch, await first(world, work.operation_id, 1))
    ended = NOTHING | {"code": "agent_restarted", "claim_digest": None}
    with pytest.raises(Unreachable, match="is not stored here yet"):
        await receipt_at(one, world, work, held, **ended)
    monkeypatch.undo()
    assert (await receipt_at(one, world, work, held, **ended)).stored
    assert await world.outcome(work.operation_id) == "failed"


async def test_receipt_of_an_attempt_that_cannot_come_is_a_security_event(world: World) -> None:
    await world.executor()
    work = await world.work((await world.ask("service_restart", **START)).operation_id or "")
    held = await world.hands.claim(work)
    made_up: dict[str, Any] = {"grant_digest": "0" * 64, "claim_digest": "0" * 64}
    assert await world.hands.finish(work, held, attempt=2, **made_up) == Acknowledgement(stored=True)
    (event,) = await world.events(subjects.SECURITY)
    assert isinstance(event, SecurityEvent)
    assert "names no grant of this operation" in event.detail


async def test_an_operation_whose_parameters_are_gone_ends_and_says_so(world: World) -> None:
    await world.executor()
    answer = await world.ask("file_write", parameters={"file_path": "/srv/app/a", "content": "x"})
    work = await world.work(answer.operation_id or "")
    requested = (await world.accepted(work.operation_id)).requested
    await world.bus.params.delete(f"{work.operation_id}.{requested.fingerprint}")
    with pytest.raises(Denied) as refused:  # the executor of the request still has them
        await claim_at(await world.executor(), world, work)
    assert (refused.value.code, refused.value.retry) == ("gone", False)
    assert await world.outcome(work.operation_id) == "failed"


async def test_a_replica_without_the_operations_plugin_leaves_it_to_another(world: World) -> None:
    one = await world.executor()
    answer = await world.ask("service_restart", parameters={"service_name": "nginx"})
    work = await world.work(answer.operation_id or "")
    whole, one.claims._catalogue = one.claims._catalogue, Catalogue(())
    held = await world.hands.claim(work)
    assert held.answer.error
    assert (held.answer.error.code, held.answer.error.retry) == ("unavailable", True)
    one.claims._catalogue = whole
    assert (await world.hands.claim(work)).answer.grant


async def test_claim_without_a_reply_of_policy_leaves_the_start_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: object) -> None:
        raise TimedOut("no answer in time")

    await world.executor()
    answer = await world.ask("service_restart", parameters={"service_name": "nginx"})
    work = await world.work(answer.operation_id or "")
    monkeypatch.setattr("writ_executor.policy.client.PolicyClient.grant", silent)
    held = await world.hands.claim(work)
    assert held.answer.error
    assert (held.answer.error.code, held.answer.error.retry) == ("timeout", True)


async def test_operation_in_flight_is_not_given_to_another_agent_at_its_deadline(world: World) -> None:
    world.policy.kill_grace = -1.0
    host = ClockedHost()
    one = await world.executor(lease=10.0, sweep=1000.0, clocks=host.clocks)
    answer = await world.ask("service_start", **START)
    work = await world.work(answer.operation_id or "")
    await world.hands.claim(work)
    await one.sweep.round()
    host.boot += 30.0
    await one.sweep.round()  # which finds that it has not listened for a while
    await heartbeat(world, work.operation_id)
    await one.sweep.round()
    await one.background.settle()
    assert (await world.kinds(work.operation_id))[-1] == "granted"
