"""Many replicas, many agents, one request: the journal decides, and exactly one of each kind wins."""

import asyncio

import pytest
from msgspec import structs
from tests.executor.conftest import POOL, World

from writ_contracts import subjects
from writ_contracts.agents import ClaimReply
from writ_contracts.inventory import AgentKey, Agents
from writ_contracts.journal import SecurityEvent
from writ_contracts.requests import Failure
from writ_executor.agents import alarms
from writ_testing.fakes.scripted_agent import ScriptedAgent
from writ_trust.keys import Key, generate_seed
from writ_trust.sealing import SealKey

RESTART = {"parameters": {"service_name": "nginx"}}


async def test_the_same_key_twice_is_one_operation_with_one_id(world: World) -> None:
    for _ in range(3):
        await world.executor()
    wish = {**RESTART, "idempotency_key": "k-1"}
    answers = await asyncio.gather(*(world.ask("service_restart", **wish) for _ in range(24)))
    assert len({answer.operation_id for answer in answers}) == 1
    assert {answer.error for answer in answers} == {None}
    assert (await world.kinds(answers[0].operation_id or "")).count("requested") == 1


async def test_the_same_key_with_another_payload_is_a_conflict(world: World) -> None:
    await world.executor()
    first = await world.ask("service_restart", **RESTART, idempotency_key="k-1")
    other = await world.ask("service_restart", parameters={"service_name": "sshd"}, idempotency_key="k-1")
    await world.executor()
    third = await world.ask("service_stop", **RESTART, idempotency_key="k-1")
    for answer in (other, third):
        assert answer.error
        assert answer.error.code == "conflict"
        assert answer.operation_id == first.operation_id
    assert len(await world.records("writ.journal.op.*.*.requested")) == 1


async def test_the_same_key_with_another_payload_is_a_conflict_where_neither_is_valid(world: World) -> None:
    await world.executor()
    wrong = {"parameters": {"service_name": "a/b"}, "idempotency_key": "k-1"}
    first = await world.ask("service_restart", **wrong)
    again = await world.ask("service_restart", **wrong)
    assert first.outcome == again.outcome == "invalid"
    assert first.operation_id == again.operation_id
    await world.executor()
    for parameters in ({"service_name": "c/d"}, {}, {"service_name": "nginx"}):
        other = await world.ask("service_restart", parameters=parameters, idempotency_key="k-1")
        assert other.error
        assert other.error.code == "conflict"
        assert other.operation_id == first.operation_id
    unknown = await world.ask("no_such", parameters={"a": 1}, idempotency_key="k-2")
    other = await world.ask("no_such", parameters={"a": 2}, idempotency_key="k-2")
    assert unknown.error
    assert other.error
    assert (unknown.error.code, other.error.code) == ("unknown_operation", "conflict")


async def test_the_same_key_of_another_principal_is_another_operation(world: World) -> None:
    await world.executor()
    mine = await world.ask("service_status", **RESTART, idempotency_key="k-1")
    theirs = await world.ask("service_status", "bob", **RESTART, idempotency_key="k-1")
    assert mine.operation_id != theirs.operation_id


async def test_a_repeat_after_a_restart_of_all_executors_finds_the_first(world: World) -> None:
    await world.executor()
    first = await world.ask("service_restart", **RESTART, idempotency_key="k-1")
    for one in world.executors:
        one.index.__init__()  # type: ignore[misc] # a replica that knows nothing yet
    again = await world.ask("service_restart", **RESTART, idempotency_key="k-1")
    assert again.operation_id == first.operation_id
    assert again.error is None


async def test_eight_agents_claim_and_one_gets_the_grant(world: World) -> None:
    for _ in range(8):
        await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    agents = [ScriptedAgent(world.bus, world.hands.pool, world.hands.key) for _ in range(8)]
    held = await asyncio.gather(*(agent.claim(work) for agent in agents))
    assert len([one for one in held if one.answer.grant]) == 1
    refused = [one.answer.error for one in held if one.answer.error]
    assert {(error.code, error.retry) for error in refused} == {("gone", False)}
    assert (await world.kinds(answer.operation_id or "")).count("granted") == 1


async def test_the_same_claim_again_gets_the_same_grant_and_no_second_start(world: World) -> None:
    for _ in range(2):
        await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    seal = SealKey()
    claim = world.hands.claim_for(work, seal)
    first = await world.hands.send_claim(claim, "alice", seal)
    for _ in range(4):
        again = await world.hands.send_claim(claim, "alice", seal)
        assert again.answer.grant == first.answer.grant
        assert again.parameters == first.parameters
    assert (await world.kinds(answer.operation_id or "")).count("granted") == 1


async def test_a_cancel_and_a_start_never_both_win(world: World) -> None:
    for _ in range(4):
        await world.executor()
    for _ in range(10):
        answer = await world.ask("service_restart", **RESTART)
        operation_id = answer.operation_id or ""
        work = await world.work(operation_id)
        held, _ = await asyncio.gather(
            world.hands.claim(work),
            world.ask("operation_cancel", target="writ", parameters={"operation_id": operation_id}),
        )
        if held.answer.grant:
            await world.hands.finish(work, held, outcome="cancelled", effect="none")
        assert await world.outcome(operation_id) == "cancelled"
        kinds = await world.kinds(operation_id)
        assert kinds.count("finished") == 1
        assert ("granted" in kinds) == (held.answer.grant is not None)


async def test_a_receipt_twice_is_stored_once(world: World) -> None:
    for _ in range(3):
        await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    held = await world.hands.claim(work)
    stored = await asyncio.gather(*(world.hands.finish(work, held) for _ in range(6)))
    assert all(one.stored for one in stored)
    assert (await world.kinds(answer.operation_id or "")).count("finished") == 1


async def test_a_claim_signed_by_a_key_of_no_agent_is_refused_and_recorded(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    stranger = ScriptedAgent(world.bus, world.hands.pool, Key(generate_seed()))
    held = await stranger.claim(work)
    assert held.answer == ClaimReply(error=held.answer.error)
    assert held.answer.error
    assert held.answer.error.code == "forged_claim"
    [event] = await world.events(subjects.SECURITY)
    assert isinstance(event, SecurityEvent)
    assert (event.kind, event.pool) == ("forged_claim", world.hands.pool)
    assert (await world.life(answer.operation_id or "")).state == "dispatched"


@pytest.mark.parametrize("operation", ["started", "unknown"])
async def test_a_claim_of_no_agent_is_refused_also_without_a_request_to_policy(world: World, operation: str) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    await world.hands.claim(work)
    before = len(world.policy.grants)
    if operation == "unknown":
        work = structs.replace(work, operation_id="a" * 26)
    stranger = ScriptedAgent(world.bus, world.hands.pool, Key(generate_seed()))
    held = await stranger.claim(work)
    assert held.answer.error
    assert held.answer.error.code == "forged_claim"
    assert len(await world.events(subjects.SECURITY)) == 1
    assert len(world.policy.grants) == before


@pytest.mark.parametrize("policy", ["deny", "require_approval", "oversize"])
async def test_claim_of_an_unknown_agent_ends_no_operation_whatever_policy_replies(world: World, policy: str) -> None:
    world.policy.agents = None
    match policy:
        case "deny" | "require_approval":
            world.policy.grant_effects["service_restart"] = policy
        case "oversize":
            world.policy.grant_errors["service_restart"] = Failure(code="oversize", message="too large")
    await world.executor(sweep=1000.0)
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    held = await ScriptedAgent(world.bus, world.hands.pool, Key(generate_seed())).claim(work)
    assert held.answer.error
    assert held.answer.error.code == "forged_claim"
    assert (await world.life(answer.operation_id or "")).state == "dispatched"
    assert len(await world.events(subjects.SECURITY)) == 1
    await world.hands.claim(work)
    assert (await world.life(answer.operation_id or "")).state == "ended"
    assert len(await world.events(subjects.SECURITY)) == 1


async def test_a_claim_that_only_policy_does_not_know_is_no_alarm(world: World) -> None:
    world.policy.agents = frozenset()
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    held = await world.hands.claim(await world.work(answer.operation_id or ""))
    assert held.answer.error
    assert held.answer.error.code == "forged_claim"
    assert not await world.events(subjects.SECURITY)


async def test_a_flood_of_forged_claims_does_not_fill_the_journal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarms, "RATE", 0.001)
    monkeypatch.setattr(alarms, "BURST", 10.0)
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    stranger = ScriptedAgent(world.bus, world.hands.pool, Key(generate_seed()))
    codes = [held.answer.error.code for held in [await stranger.claim(work) for _ in range(30)] if held.answer.error]
    assert codes == ["forged_claim"] * 10 + ["rate_limited"] * 20
    assert len(await world.events(subjects.SECURITY)) == 10


async def test_a_claim_of_one_pool_sent_as_another_is_refused(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    other = ScriptedAgent(world.bus, world.hands.pool, world.hands.key)
    other.pool = "local-db-1"
    held = await other.claim(work)
    assert held.answer.error
    assert held.answer.error.code == "forged_claim"


async def test_a_receipt_for_a_grant_that_was_never_given_ends_nothing(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    held = await world.hands.claim(work)
    await world.hands.finish(work, structs.replace(held, answer=ClaimReply()), grant_digest="0" * 64)
    assert (await world.life(answer.operation_id or "")).state == "started"
    kinds = [event.kind for event in await world.events(subjects.SECURITY) if isinstance(event, SecurityEvent)]
    assert kinds == ["forged_receipt"]


async def test_an_agent_that_ran_nothing_may_say_so_without_naming_a_grant(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    held = await world.hands.claim(work)
    lost = structs.replace(held, answer=ClaimReply())
    await world.hands.finish(work, lost, outcome="failed", effect="none", code="not_begun")
    assert await world.outcome(answer.operation_id or "") == "failed"


@pytest.mark.parametrize("own_key", [True, False])
async def test_a_receipt_of_another_agent_than_claimed_it_is_an_alarm_and_ends_nothing(
    world: World, own_key: bool
) -> None:
    other = ScriptedAgent(world.bus, POOL, world.hands.key if own_key else None)
    keys = [AgentKey(pool=POOL, key=key) for key in (world.hands.key.public, other.key.public)]
    world._agents = lambda: Agents(agents=keys)  # type: ignore[method-assign]
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    held = await world.hands.claim(work)
    assert (await other.finish(work, held)).stored
    assert (await world.life(work.operation_id)).state == "started"
    (event,) = await world.events(subjects.security_event("forged_receipt"))
    assert isinstance(event, SecurityEvent)
    assert "another key or instance" in event.detail
    await world.hands.finish(work, held)
    assert await world.outcome(work.operation_id) == "succeeded"
