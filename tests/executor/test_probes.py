"""A probe resolves what ended `unknown`, while no later operation has changed the target."""

import asyncio

import pytest
from tests.executor.agent_requests import heartbeat, serve_agent
from tests.executor.conftest import World

from writ_contracts import subjects
from writ_contracts.decisions import RuleLimit
from writ_contracts.requests import OperationQuery, OperationReply
from writ_contracts.wire import decode, encode
from writ_testing.eventually import eventually

RESTART = {"parameters": {"service_name": "nginx", "timeout": 1}}


@pytest.mark.parametrize(("verdict", "outcome"), [("took_effect", "succeeded"), ("no_effect", "failed")])
async def test_a_probe_resolves_what_was_unknown(world: World, verdict: str, outcome: str) -> None:
    world.policy.kill_grace = 0.0
    await world.executor(lease=5.0)
    await serve_agent(world, verdict)
    answer = await world.ask("service_restart", **RESTART)
    operation_id = answer.operation_id or ""
    work = await world.work(operation_id)
    held = await world.hands.claim(work)
    await heartbeat(world)
    await world.hands.finish(work, held, outcome="unknown", code="agent_restarted")

    async def resolved() -> str | None:
        life = await world.life(operation_id)
        return life.outcome if life.state == "ended" else None

    assert await world.until(resolved) == outcome
    assert (await world.kinds(operation_id))[-2:] == ["unknown", "resolved"]


async def test_a_probe_resolves_what_had_secret_parameters_too_and_they_are_gone_then(world: World) -> None:
    one = await world.executor(lease=5.0)
    await serve_agent(world, "took_effect")
    answer = await world.ask("file_write", parameters={"file_path": "/srv/app/a", "content": "x"})
    operation_id = answer.operation_id or ""
    work = await world.work(operation_id)
    await world.hands.finish(work, await world.hands.claim(work), outcome="unknown", code="lost", over=False)
    requested = (await world.accepted(operation_id)).requested
    await heartbeat(world)

    async def resolved() -> str | None:
        life = await world.life(operation_id)
        return life.outcome if life.state == "ended" else None

    assert await world.until(resolved) == "succeeded"
    await one.background.settle()
    assert await world.bus.params.get(f"{operation_id}.{requested.fingerprint}") is None


async def test_no_probe_takes_a_later_operations_effect_for_an_earlier_ones(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_executor.rounds.probes.PROBE_EVERY", 0.1)
    monkeypatch.setattr("writ_executor.steps.dispatch.PROBE_FIRST", 0.1)
    await world.executor(lease=5.0)
    answer = await world.ask("service_restart", **RESTART)
    first = await world.work(answer.operation_id or "")
    await world.hands.finish(first, await world.hands.claim(first), outcome="unknown", code="agent_restarted")
    answer = await world.ask("service_restart", **RESTART)
    second = await world.work(answer.operation_id or "")
    await serve_agent(world, "took_effect")
    await heartbeat(world)
    await world.hands.finish(second, await world.hands.claim(second), outcome="unknown", code="agent_restarted")

    async def resolved() -> bool | None:
        return (await world.life(second.operation_id)).state == "ended" or None

    await world.until(resolved)
    assert (await world.life(first.operation_id)).state == "unknown"


async def test_view_of_an_unknown_operation_has_the_reason_of_the_latest_probe(world: World) -> None:
    await world.executor(lease=5.0)
    await serve_agent(world, "unknown", observed={"reason": "by its log apt began at noon and did not end"})
    await heartbeat(world)
    operation_id = await ended_unknown(world)

    async def reason() -> str | None:
        query = encode(OperationQuery(operation_id=operation_id))
        reply = decode(
            (await world.bus.request(subjects.query("alice", "operation"), query, timeout=5)).data, OperationReply
        )
        return reply.operation.message if reply.operation and "probe" in reply.operation.message else None

    assert (await eventually(reason)).endswith("the latest probe: by its log apt began at noon and did not end")


async def ended_unknown(world: World) -> str:
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    await world.hands.finish(work, await world.hands.claim(work), outcome="unknown", code="agent_restarted")
    return work.operation_id


async def test_the_next_change_of_a_target_waits_until_the_unknown_one_was_probed(world: World) -> None:
    await world.executor(lease=5.0)
    await serve_agent(world, "no_effect")
    answer = await world.ask("service_restart", **RESTART)
    waiting = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    held = await world.hands.claim(work)
    await heartbeat(world)
    await world.hands.finish(work, held, outcome="unknown", code="agent_restarted")
    await world.work(waiting.operation_id or "")
    assert (await world.life(work.operation_id)).outcome == "failed"


async def test_the_next_change_of_a_target_does_not_wait_for_long_where_a_probe_finds_nothing_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_executor.steps.dispatch.PROBE_FIRST", 0.3)
    await world.executor(lease=5.0)
    await serve_agent(world, "unknown")
    await heartbeat(world)
    first = await ended_unknown(world)
    second = await world.ask("service_restart", **RESTART)
    await world.work(second.operation_id or "")
    assert (await world.life(first)).state == "unknown"


async def test_a_probe_says_nothing_once_another_operation_may_have_changed_the_target_during_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_executor.steps.dispatch.PROBE_FIRST", 0.0)
    one = await world.executor(lease=5.0)
    looked, dispatched = asyncio.Event(), asyncio.Event()

    async def look_until_the_next_is_dispatched() -> None:
        looked.set()
        await dispatched.wait()

    await serve_agent(world, "took_effect", before_read=look_until_the_next_is_dispatched)
    await heartbeat(world)
    first = await ended_unknown(world)
    await looked.wait()
    second = await world.ask("service_restart", **RESTART)
    await world.work(second.operation_id or "")
    dispatched.set()
    await one.background.settle()
    assert (await world.life(first)).state == "unknown"


async def test_nobody_under_a_limit_waits_for_the_probe_of_another_operations_target(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_executor.steps.dispatch.PROBE_FIRST", 3_600.0)
    limit = RuleLimit("two", "max_concurrent", 2)
    world.policy.limits |= {"service_restart": [limit], "service_status": [limit]}
    await world.executor()
    await ended_unknown(world)
    waits = await world.ask("service_restart", **RESTART)
    goes = await world.ask("service_status", **RESTART)
    await world.work(goes.operation_id or "")
    assert await world.kinds(waits.operation_id or "") == ["requested"]


async def test_a_target_is_not_held_until_a_server_clock_that_was_set_back_catches_up(world: World) -> None:
    ahead, clock = 3_600.0, world.broker.disk.clock
    world.broker.disk.clock = lambda: clock() + ahead
    one = await world.executor()
    await ended_unknown(world)
    ahead = 0.0
    await one.time.measure()
    second = await world.ask("service_restart", **RESTART)
    await world.work(second.operation_id or "")
