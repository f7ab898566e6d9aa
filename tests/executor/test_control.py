"""Operations on Writ itself: cancels before, during and after, and stops."""

from typing import Any

import pytest
from msgspec import json, structs
from tests.contracts.messages import sample
from tests.executor.agent_requests import serve_agent
from tests.executor.conftest import World

from writ_contracts import subjects
from writ_contracts.errors import Invalid
from writ_contracts.journal import ControlEvent, Finished, Requested, Unknown
from writ_executor.control.in_force_check import check_in_force
from writ_trust.control_events import STORED_WITHIN

RESTART = {"parameters": {"service_name": "nginx", "timeout": 1}}


async def test_a_cancel_before_the_start_ends_it_at_once(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    victim = answer.operation_id or ""
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": victim})
    assert cancel.error is None
    assert await world.outcome(cancel.operation_id or "") == "succeeded"
    assert await world.outcome(victim) == "cancelled"


async def test_cancel_of_a_running_operation_reaches_its_agent_with_policys_decision(world: World) -> None:
    await world.executor()
    cancels = await serve_agent(world)
    answer = await world.ask("service_restart", **RESTART)
    victim = answer.operation_id or ""
    work = await world.work(victim)
    held = await world.hands.claim(work)
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": victim})
    assert await world.outcome(cancel.operation_id or "") == "succeeded"
    end = (await world.life(cancel.operation_id or "")).end
    assert isinstance(end, Finished)
    assert end.output == {"result": "stopped"}
    assert cancels[0].operation_id == victim
    await world.hands.finish(work, held, outcome="cancelled", effect="maybe")
    assert await world.outcome(victim) == "cancelled"


@pytest.mark.parametrize("answer", ["not_confirmed", "not_running"])
async def test_cancel_without_a_confirmed_stop_is_unknown(world: World, answer: str) -> None:
    await world.executor()
    await serve_agent(world, cancelled=answer)
    victim = (await world.ask("service_restart", **RESTART)).operation_id or ""
    await world.hands.claim(await world.work(victim))
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": victim})
    assert await world.outcome(cancel.operation_id or "") == "unknown"
    lost = (await world.life(cancel.operation_id or "")).end
    assert isinstance(lost, Unknown)
    assert lost.code == "not_confirmed"
    assert f"writ op watch {victim}" in lost.message


async def test_a_cancel_of_what_has_ended_fails_and_says_so(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    await world.hands.finish(work, await world.hands.claim(work))
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": answer.operation_id})
    assert await world.outcome(cancel.operation_id or "") == "failed"


async def test_a_cancel_of_nothing_is_invalid(world: World) -> None:
    await world.executor()
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": "a" * 26})
    assert cancel.error
    assert cancel.error.code == "not_found"


@pytest.mark.parametrize(
    ("operation", "parameters", "command"),
    [
        ("audit_read", {"query": "search"}, "writ audit search"),
        ("backend_test", {"target": "web-1"}, "writ target test"),
        (
            "approval_decide",
            {"operation_id": "a" * 26, "decision_digest": "0" * 64, "verdict": "approve"},
            "writ approvals approve",
        ),
    ],
)
async def test_a_control_operation_that_only_names_a_permission_is_refused_with_its_command(
    world: World, operation: str, parameters: dict[str, Any], command: str
) -> None:
    await world.executor()
    answer = await world.ask(operation, target="writ", parameters=parameters)
    assert answer.error is not None
    assert (answer.error.code, f"use `{command}`" in answer.error.message) == ("unsupported", True)


async def test_a_stop_is_a_control_event_and_later_questions_name_its_sequence(world: World) -> None:
    one = await world.executor()
    stop = await world.ask("stop_set", target="writ", parameters={"reason": "something is wrong"})
    assert await world.outcome(stop.operation_id or "") == "succeeded"
    [record] = await world.records(subjects.CONTROL)
    await one.follower.reached(record.sequence)
    await world.ask("service_status", **RESTART)
    assert world.policy.decides[-1].control_sequence == record.sequence
    assert json.decode(record.data)["body"]["reason"] == "something is wrong"


async def test_a_lift_that_was_decided_long_ago_is_not_stored(world: World) -> None:
    one = await world.executor()
    stop = await world.ask("stop_set", target="writ", parameters={"reason": "fire"})
    assert await world.outcome(stop.operation_id or "") == "succeeded"
    server_time = one.recorder.clock
    one.recorder.clock = lambda: server_time() + STORED_WITHIN + 1.0  # it was down meanwhile
    lift = await world.ask("stop_lift", target="writ", parameters={"stop_id": stop.operation_id})
    assert await world.outcome(lift.operation_id or "") == "failed"
    assert [record.subject for record in await world.records(subjects.CONTROL)] == [subjects.control_event("stop_set")]
    end = (await world.life(lift.operation_id or "")).end
    assert isinstance(end, Finished)
    assert "send the request again" in end.message


async def test_a_lift_of_a_stop_that_is_not_in_force_fails_and_names_those_that_are(world: World) -> None:
    await world.executor()
    stop = await world.ask("stop_set", target="writ", parameters={"reason": "fire"})
    assert await world.outcome(stop.operation_id or "") == "succeeded"

    async def lift(stop_id: str) -> Finished:
        answer = await world.ask("stop_lift", target="writ", parameters={"stop_id": stop_id})
        await world.outcome(answer.operation_id or "")
        end = (await world.life(answer.operation_id or "")).end
        assert isinstance(end, Finished)
        return end

    unknown = await lift("b" * 26)
    assert (unknown.outcome, unknown.code) == ("failed", "not_found")
    assert unknown.message == f"no stop {'b' * 26} is in force; in force: {stop.operation_id}"
    assert (await lift(stop.operation_id or "")).outcome == "succeeded"
    twice = await lift(stop.operation_id or "")
    assert (twice.outcome, "none is in force" in twice.message) == ("failed", True)


def test_the_end_of_a_session_that_is_not_open_names_those_of_nobody_else() -> None:
    requested: Any = structs.replace(sample(Requested), operation="session_end", effective={"session_id": "b" * 26})
    another: Any = structs.replace(sample(ControlEvent), id="a" * 26)
    with pytest.raises(Invalid, match=f"^no session {'b' * 26} is open: `writ sessions list`$") as refused:
        check_in_force(requested, [another], [])
    assert refused.value.code == "not_found"


async def test_the_end_of_an_unknown_emergency_fails(world: World) -> None:
    await world.executor()
    wish = {"emergency_id": "c" * 26, "verdict": "end"}
    answer = await world.ask("emergency_confirm", target="writ", parameters=wish)
    assert await world.outcome(answer.operation_id or "") == "failed"


async def test_a_stop_lists_what_runs_within_its_reach(world: World) -> None:
    await world.executor()
    running = await world.ask("service_restart", **RESTART)
    await world.hands.claim(await world.work(running.operation_id or ""))
    reads = await world.ask("service_status", **RESTART)
    await world.hands.claim(await world.work(reads.operation_id or ""))

    async def listed(**reach: object) -> object:
        stop = await world.ask("stop_set", target="writ", parameters={"reason": "odd", **reach})
        assert await world.outcome(stop.operation_id or "") == "succeeded"
        end = (await world.life(stop.operation_id or "")).end
        assert isinstance(end, Finished)
        return end.output["running"]

    assert await listed() == [running.operation_id]
    assert await listed(operations=["service_restart"], principals=["alice"]) == [running.operation_id]
    assert await listed(operations=["service_stop"]) == []
    assert await listed(scope=["other-*"]) == []
