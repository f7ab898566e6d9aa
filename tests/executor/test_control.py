"""Operations on Writ itself: cancels before, during and after, and stops."""

from msgspec import json
from tests.executor.agent_hands import serve_agent
from tests.executor.conftest import World

from writ_contracts import subjects
from writ_contracts.journal import Finished

RESTART = {"parameters": {"service_name": "nginx", "timeout": 1}}


async def test_a_cancel_before_the_start_ends_it_at_once(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    victim = answer.operation_id or ""
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": victim})
    assert cancel.error is None
    assert await world.outcome(cancel.operation_id or "") == "succeeded"
    assert await world.outcome(victim) == "cancelled"


async def test_a_cancel_of_what_runs_is_told_to_its_agent_with_policys_word(world: World) -> None:
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


async def test_a_stop_is_a_control_event_and_later_questions_name_its_sequence(world: World) -> None:
    one = await world.executor()
    stop = await world.ask("stop_set", target="writ", parameters={"reason": "something is wrong"})
    assert await world.outcome(stop.operation_id or "") == "succeeded"
    [record] = await world.records(subjects.CONTROL)
    await one.follower.reached(record.sequence)
    await world.ask("service_status", **RESTART)
    assert world.policy.decides[-1].control_sequence == record.sequence
    assert json.decode(record.data)["body"]["reason"] == "something is wrong"


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
