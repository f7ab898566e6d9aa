"""One operation's way through the executor: every event in order, and the messages to each party."""

import asyncio

import pytest
from tests.executor.conftest import World

from writ_contracts import subjects
from writ_contracts.decisions import Decision, Grant
from writ_contracts.journal import Finished, Granted, Refused, Requested
from writ_contracts.life import GrantedLife
from writ_contracts.requests import Failure
from writ_executor.journal import recorder
from writ_testing.call_path import recorded_path
from writ_trust.digests import keyed_digest
from writ_trust.statements import open_signed

RESTART = {"parameters": {"service_name": "nginx"}}
SECRET = "s3cret-canary-7f1"


async def test_a_change_is_requested_dispatched_started_and_finished(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART, reason="because")
    assert (answer.state, answer.error) == ("dispatched", None)
    assert answer.operation_id
    work = await world.work(answer.operation_id)
    held = await world.hands.claim(work)
    assert held.parameters == {"service_name": "nginx", "timeout": 60}
    acknowledged = await world.hands.finish(work, held, output={"active_state": "active"})
    assert acknowledged.stored
    assert await world.kinds(answer.operation_id) == ["requested", "dispatched", "granted", "finished"]
    life = await world.accepted(answer.operation_id)
    assert life.outcome == "succeeded"
    assert life.requested.reason == "because"
    assert life.requested.verdict.rules == ["scripted"]


async def test_the_chain_of_signatures_can_be_followed_from_the_record_alone(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    assert answer.operation_id
    work = await world.work(answer.operation_id)
    held = await world.hands.claim(work)
    await world.hands.finish(work, held)
    trusted = {world.policy.key.public}
    events = await world.events(subjects.any_operation_filter(answer.operation_id))
    requested, started = events[0], events[2]
    assert isinstance(requested, Requested)
    assert isinstance(started, Granted)
    decision = open_signed(requested.decision, Decision, trusted, "")
    grant = open_signed(started.grant, Grant, trusted, "")
    assert decision.effect == "allow"
    assert (grant.operation_id, grant.instance) == (answer.operation_id, world.hands.instance)
    key = world.policy.grants[0].subject.parameters_key
    assert grant.parameters_digest == keyed_digest(key, held.parameters)


async def test_read_only_operation_takes_no_lock(world: World) -> None:
    await world.executor()
    answers = [await world.ask("service_status", **RESTART) for _ in range(3)]
    assert [answer.state for answer in answers] == ["dispatched"] * 3
    assert await world.records(subjects.target_lock("web-1")) == []


async def test_changes_of_one_target_go_one_at_a_time_in_the_order_of_their_requests(world: World) -> None:
    await world.executor()
    answers = [await world.ask("service_restart", **RESTART) for _ in range(4)]
    ids = [answer.operation_id or "" for answer in answers]
    assert [answer.state for answer in answers] == ["dispatched", "requested", "requested", "requested"]
    for operation_id in ids:
        work = await world.work(operation_id)
        assert len([item for item in ids if (await world.life(item)).state == "dispatched"]) == 1
        await world.hands.finish(work, await world.hands.claim(work))
    dispatched = [record.subject.split(".")[4] for record in await world.records("writ.journal.op.*.*.dispatched.>")]
    assert dispatched == ids


async def test_a_secret_parameter_reaches_the_agent_and_nothing_else(world: World) -> None:
    await world.executor()
    parameters = {"file_path": "/srv/app/a", "content": SECRET}
    answer = await world.ask("file_write", parameters=parameters)
    assert answer.operation_id
    requested = (await world.accepted(answer.operation_id)).requested
    kept_as = f"{answer.operation_id}.{requested.fingerprint}"
    assert await world.bus.params.get(kept_as)
    work = await world.work(answer.operation_id)
    held = await world.hands.claim(work)
    assert held.parameters["content"] == SECRET
    await world.hands.finish(work, held, full={"echo": SECRET})
    await asyncio.gather(*(one.background.settle() for one in world.executors))
    assert await world.bus.params.get(kept_as) is None
    stored = b"".join(record.data for record in await world.records())
    assert SECRET.encode() not in stored
    kept = await world.bus.results.get(f"alice.{answer.operation_id}")
    assert kept is not None
    assert SECRET.encode() not in kept


async def test_a_denial_says_which_rule_and_is_recorded(world: World) -> None:
    await world.executor()
    world.policy.effects["service_restart"] = "deny"
    answer = await world.ask("service_restart", **RESTART)
    assert answer.outcome == "denied"
    assert answer.verdict
    assert answer.verdict.rules == ["scripted"]
    assert answer.error == Failure(code="denied", message="scripted to deny")
    [event] = await world.events()
    assert isinstance(event, Refused)
    assert (event.outcome, event.principal, event.operation_id) == ("denied", "alice", answer.operation_id)


async def test_operation_that_needs_an_approval_does_not_start(world: World) -> None:
    await world.executor()
    world.policy.effects["service_restart"] = "require_approval"
    answer = await world.ask("service_restart", **RESTART)
    assert answer.outcome == "denied"
    assert answer.error
    assert answer.error.code == "approval_unavailable"


async def test_denial_at_the_claim_prevents_the_start(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    assert answer.operation_id
    work = await world.work(answer.operation_id)
    world.policy.grant_effects["service_restart"] = "deny"
    held = await world.hands.claim(work)
    assert held.answer.grant is None
    assert held.answer.error
    assert held.answer.error.retry is False
    life = await world.life(answer.operation_id)
    assert (life.outcome, isinstance(life, GrantedLife)) == ("denied", False)
    assert isinstance(life.end, Finished)
    assert life.end.decision is not None


async def test_a_dry_run_with_nobody_there_to_look_fails_and_changes_nothing(world: World) -> None:
    await world.executor()
    answer = await world.ask("network_scan", parameters={"cidr": "127.0.0.0/30"}, dry_run=True)
    assert answer.operation_id
    assert await world.outcome(answer.operation_id) == "previewed"
    assert await world.kinds(answer.operation_id) == ["requested", "finished"]


async def test_dry_run_only_makes_every_request_a_dry_run(world: World) -> None:
    await world.executor(dry_run_only=True)
    answer = await world.ask("network_scan", parameters={"cidr": "127.0.0.0/30"})
    assert answer.operation_id
    assert await world.outcome(answer.operation_id) == "previewed"


async def test_request_endpoint_has_a_short_path_to_its_core(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recorded_path(monkeypatch, recorder, "apply")
    await world.executor()
    await world.ask("service_restart", **RESTART)
    assert path.is_short, path
