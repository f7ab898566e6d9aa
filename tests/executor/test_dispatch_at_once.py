"""A read that waits for nothing is dispatched by the event of its request, if all agents of the pool read it."""

from typing import Any

import pytest
from msgspec import structs
from tests.executor.agent_requests import heartbeat
from tests.executor.conftest import POOL, World

from writ_bus.errors import Forbidden
from writ_bus.port import Entry, Service
from writ_contracts import subjects
from writ_contracts.decisions import RuleLimit
from writ_contracts.history.audit import AuditStanding
from writ_contracts.journal import Requested
from writ_contracts.life import DispatchedLife, State
from writ_contracts.version import REQUESTS_DISPATCH
from writ_contracts.wire import encode
from writ_executor.journal.follower import read_life
from writ_executor.service import Executor
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus
from writ_testing.memory.journal import MemoryJournal
from writ_trust.statements import digest

OPERATIONS = ("service_status", "file_write")
STATUS: dict[str, Any] = {"parameters": {"service_name": "nginx"}}


async def standing(world: World, instance: str, level: int) -> None:
    """Report as an audit service of this level."""
    report = AuditStanding(position=0, lag=0, instance=instance, level=level)
    await world.bus.publish(subjects.AUDIT_STANDING, encode(report))


async def replica(world: World, **changed: Any) -> Executor:
    """Return an executor that knows an agent which reads a dispatch in `requested`, audit, and itself."""
    one = await world.executor(**changed)
    await heartbeat(world, requests=True, also=OPERATIONS)
    await standing(world, "new", REQUESTS_DISPATCH)

    async def heard() -> bool:
        known = one.presence.agents(POOL) and one.base.audit_services.levels()
        found = one.replicas.all_read(REQUESTS_DISPATCH) or not changed.get("dispatch_at_once", True)
        return bool(known) and found

    await eventually(heard)
    return one


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


async def test_agent_of_an_earlier_release_causes_two_events(world: World) -> None:
    one = await replica(world)

    async def kinds() -> list[str]:
        answer = await world.ask("service_status", **STATUS)
        await world.work(answer.operation_id or "")
        return await world.kinds(answer.operation_id or "")

    async def known(count: int) -> None:
        async def heard() -> bool:
            return len(one.presence.agents(POOL)) == count

        await eventually(heard)

    assert await kinds() == ["requested"]
    await heartbeat(world, instance="older", also=OPERATIONS)
    await known(2)
    assert await kinds() == ["requested", "dispatched"]
    await heartbeat(world, instance="older", leaving=True)
    await known(1)
    assert await kinds() == ["requested"]
    await heartbeat(world, leaving=True)
    await known(0)
    assert await kinds() == ["requested", "dispatched"]


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


async def test_permissions_of_an_earlier_release_cause_two_events(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replica(world)
    append, refused = MemoryJournal.append, list[str]()

    async def as_before(journal: MemoryJournal, entry: Entry) -> int:
        if entry.subject.endswith(f".requested.{POOL}.web-1"):
            refused.append(entry.subject)
            raise Forbidden(f"no permission to publish on {entry.subject}")
        return await append(journal, entry)

    monkeypatch.setattr(MemoryJournal, "append", as_before)
    for _ in range(2):
        answer = await world.ask("service_status", **STATUS)
        assert answer.error is None
        await world.work(answer.operation_id or "")
        assert await world.kinds(answer.operation_id or "") == ["requested", "dispatched"]
    assert len(refused) == 1


@pytest.mark.parametrize("earlier", ["policy", "audit"])
async def test_policy_or_audit_of_an_earlier_release_causes_two_events(world: World, earlier: str) -> None:
    one = await replica(world)
    if earlier == "policy":
        world.policy.level = REQUESTS_DISPATCH - 1
    else:
        await standing(world, "old", REQUESTS_DISPATCH - 1)

        async def heard() -> bool:
            return len(one.base.audit_services.levels()) == 2

        await eventually(heard)
    answer = await world.ask("service_status", **STATUS)
    await world.work(answer.operation_id or "")
    assert await world.kinds(answer.operation_id or "") == ["requested", "dispatched"]


async def test_policy_replica_of_an_earlier_release_that_decided_lately_causes_two_events(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replica(world)
    for level, kinds in (
        (REQUESTS_DISPATCH, ["requested"]),
        (REQUESTS_DISPATCH - 1, ["requested", "dispatched"]),
        (REQUESTS_DISPATCH, ["requested", "dispatched"]),  # the other replica may grant its start
    ):
        world.policy.level = level
        answer = await world.ask("service_status", **STATUS)
        await world.work(answer.operation_id or "")
        assert await world.kinds(answer.operation_id or "") == kinds
    monkeypatch.setattr("writ_executor.policy.client.LEVEL_REMEMBERED", 0.0)
    answer = await world.ask("service_status", **STATUS)
    await world.work(answer.operation_id or "")
    assert await world.kinds(answer.operation_id or "") == ["requested"]


async def test_before_the_first_report_of_audit_there_are_two_events(world: World) -> None:
    one = await world.executor()
    await heartbeat(world, requests=True, also=OPERATIONS)

    async def heard() -> bool:
        return bool(one.presence.agents(POOL))

    await eventually(heard)
    answer = await world.ask("service_status", **STATUS)
    await world.work(answer.operation_id or "")
    assert await world.kinds(answer.operation_id or "") == ["requested", "dispatched"]


@pytest.mark.parametrize("metadata", [{}, {"level": str(REQUESTS_DISPATCH - 1)}, {"level": "high"}])
async def test_an_executor_of_the_release_before_is_enough_for_two_events(
    world: World, metadata: dict[str, str]
) -> None:
    one = await replica(world)
    await MemoryBus(world.broker).serve(
        Service(name="executor", version="0.1.0", description="", endpoints=[], metadata=metadata)
    )
    await one.replicas.look()
    answer = await world.ask("service_status", **STATUS)
    await world.work(answer.operation_id or "")
    assert await world.kinds(answer.operation_id or "") == ["requested", "dispatched"]


async def test_where_nats_forbids_to_discover_executors_there_are_two_events(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def as_before(*_: Any, **__: Any) -> list[Any]:
        nonlocal asked
        asked += 1
        raise Forbidden("no permission to publish on $SRV.PING.executor")

    monkeypatch.setattr(MemoryBus, "request_many", as_before)
    monkeypatch.setattr("writ_executor.replicas.EVERY", 0.01)
    one = await world.executor()
    await heartbeat(world, requests=True, also=OPERATIONS)
    await standing(world, "new", REQUESTS_DISPATCH)

    async def known() -> bool:
        return bool(asked and one.presence.agents(POOL) and one.base.audit_services.levels())

    await eventually(known)
    answer = await world.ask("service_status", **STATUS)
    await world.work(answer.operation_id or "")
    assert await world.kinds(answer.operation_id or "") == ["requested", "dispatched"]
    assert asked == 1


async def as_earlier_release(world: World, operation_id: str) -> None:
    """Dispatch it as an executor of the release before does, which does not read the dispatch in a request."""
    life = await read_life(world.bus, "alice", operation_id)
    assert isinstance(life, DispatchedLife)
    event = structs.replace(
        life.dispatched, id="earlier", at=life.dispatched.at + 2, start_by=life.dispatched.start_by + 2
    )
    where = {"pool": event.pool, "target": event.target}
    entry = Entry(
        subject=subjects.operation_event("alice", operation_id, "dispatched", **where),
        data=encode(event),
        event_id=event.id,
        filter=subjects.operation_filter("alice", operation_id),
        expected=life.sequence,
    )
    await world.bus.journal.append(entry)


async def test_second_dispatch_by_an_earlier_release_is_carried_out_once(world: World) -> None:
    one = await replica(world)
    operation_id = (await world.ask("service_status", **STATUS)).operation_id or ""
    first = await world.work(operation_id)
    await as_earlier_release(world, operation_id)
    work = await world.work(operation_id)
    claimed = await world.hands.claim(work)
    assert claimed.answer.grant
    assert (await world.hands.claim(first)).answer.grant is None
    await world.hands.finish(work, claimed)
    assert await world.outcome(operation_id) == "succeeded"
    assert await world.kinds(operation_id) == ["requested", "dispatched", "granted", "finished"]
    assert one.follower.damaged == 0


async def test_second_dispatch_by_an_earlier_release_expires_unclaimed(world: World) -> None:
    one = await replica(world, start_window=0.1)
    operation_id = (await world.ask("service_status", **STATUS)).operation_id or ""
    await as_earlier_release(world, operation_id)
    assert await world.outcome(operation_id) == "expired"
    assert one.follower.damaged == 0


async def test_after_an_executor_of_the_release_before_was_noticed_there_are_two_events(world: World) -> None:
    one = await replica(world)
    operation_id = (await world.ask("service_status", **STATUS)).operation_id or ""
    await as_earlier_release(world, operation_id)
    [*_, last] = await world.records(subjects.any_operation_filter(operation_id))
    assert await one.follower.reached(last.sequence)
    answer = await world.ask("service_status", **STATUS)
    await world.work(answer.operation_id or "")
    assert await world.kinds(answer.operation_id or "") == ["requested", "dispatched"]
