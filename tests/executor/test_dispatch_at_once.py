"""A read that waits for nothing is dispatched by the event of its request."""

from typing import Any

import pytest
from tests.executor.conftest import POOL, World

from writ_contracts import subjects
from writ_contracts.decisions import RuleLimit
from writ_contracts.journal import Requested
from writ_contracts.life import DispatchedLife, State
from writ_executor.journal.follower import read_life
from writ_executor.service import Executor
from writ_testing.eventually import eventually
from writ_trust.statements import digest

STATUS: dict[str, Any] = {"parameters": {"service_name": "nginx"}}


async def replica(world: World, **changed: Any) -> Executor:
    """Return an executor with the default setting."""
    return await world.executor(**changed)


async def test_read_is_requested_and_dispatched_by_one_event(world: World) -> None:
    await replica(world)
    answer = await world.ask("service_status", **STATUS)
    assert (answer.state, answer.error) == ("dispatched", None)
    operation_id = answer.operation_id or ""
    [record] = await world.records(subjects.any_operation_filter(operation_id))
    assert record.subject == f"writ.journal.op.alice.{operation_id}.requested.{POOL}.web-1"
    work = await world.work(operation_id)
    [requested] = await world.events(subjects.any_operation_filter(operation_id))
    assert isinstance(requested, Requested)
    assert work.decision_digest == digest(requested.decision)
    assert work.start_by - work.at == pytest.approx(60.0)
    await world.hands.finish(work, await world.hands.claim(work))
    assert await world.outcome(operation_id) == "succeeded"
    assert await world.kinds(operation_id) == ["requested", "granted", "finished"]


async def test_repeated_request_is_not_dispatched_again(world: World) -> None:
    await replica(world)
    first = await world.ask("service_status", **STATUS, idempotency_key="k")
    again = await world.ask("service_status", **STATUS, idempotency_key="k")
    assert (again.operation_id, again.state) == (first.operation_id, "dispatched")
    assert await world.kinds(first.operation_id or "") == ["requested"]


async def test_sweep_leaves_a_read_that_was_dispatched_with_its_request(world: World) -> None:
    one = await replica(world)
    operation_id = (await world.ask("service_status", **STATUS)).operation_id or ""
    two = await world.executor()
    [record] = await world.records(subjects.any_operation_filter(operation_id))
    assert await two.follower.reached(record.sequence)
    for each in (one, two):
        await each.sweep.round()
    assert await world.kinds(operation_id) == ["requested"]
    work = await world.work(operation_id)
    assert (await world.hands.claim(work)).answer.grant


async def test_read_expires_without_a_claim(world: World) -> None:
    await replica(world, start_window=0.1)
    operation_id = (await world.ask("service_status", **STATUS)).operation_id or ""
    assert await world.outcome(operation_id) == "expired"
    assert await world.kinds(operation_id) == ["requested", "finished"]


async def test_read_is_cancelled_before_its_claim(world: World) -> None:
    await replica(world)
    operation_id = (await world.ask("service_status", **STATUS)).operation_id or ""
    await world.ask("operation_cancel", target="writ", parameters={"operation_id": operation_id})
    assert await world.outcome(operation_id) == "cancelled"


@pytest.mark.parametrize("operation", ["service_restart", "file_write"])
async def test_change_has_a_dispatch_event_of_its_own(world: World, operation: str) -> None:
    await replica(world)
    given = {"file_path": "/srv/app/a", "content": "x"} if operation == "file_write" else {"service_name": "nginx"}
    answer = await world.ask(operation, parameters=given)
    await world.work(answer.operation_id or "")
    assert await world.kinds(answer.operation_id or "") == ["requested", "dispatched"]


async def test_read_under_a_limit_has_a_dispatch_event_of_its_own(world: World) -> None:
    world.policy.limits["service_status"] = [RuleLimit("at most three", "max_concurrent", 3)]
    await replica(world)
    answer = await world.ask("service_status", **STATUS)
    await world.work(answer.operation_id or "")
    assert await world.kinds(answer.operation_id or "") == ["requested", "dispatched"]


async def test_request_with_hidden_parameters_is_not_shown_to_agents(world: World) -> None:
    await replica(world, audit_level="minimal")
    answer = await world.ask("service_status", **STATUS)
    await world.work(answer.operation_id or "")
    assert await world.kinds(answer.operation_id or "") == ["requested", "dispatched"]


async def test_setting_keeps_requests_from_agents(world: World) -> None:
    await replica(world, dispatch_at_once=False)
    answer = await world.ask("service_status", **STATUS)
    await world.work(answer.operation_id or "")
    assert await world.kinds(answer.operation_id or "") == ["requested", "dispatched"]


async def test_second_attempt_has_a_dispatch_event_of_its_own(world: World) -> None:
    await replica(world)
    operation_id = (await world.ask("service_status", **STATUS)).operation_id or ""
    work = await world.work(operation_id)
    await world.hands.finish(work, await world.hands.claim(work), outcome="unknown", over=True)

    async def again() -> bool:
        life = await read_life(world.bus, "alice", operation_id)
        return isinstance(life, DispatchedLife) and life.state is State.DISPATCHED and life.dispatched.attempt == 2

    await eventually(again)
    assert await world.kinds(operation_id) == ["requested", "granted", "dispatched"]
    second = await world.work(operation_id)
    await world.hands.finish(second, await world.hands.claim(second))
    assert await world.outcome(operation_id) == "succeeded"
