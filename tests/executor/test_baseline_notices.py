"""Before it records a change, an executor notices the pool's only agent, so that it reads the baseline early."""

import pytest
from tests.executor.agent_requests import heartbeat
from tests.executor.conftest import POOL, World

from writ_bus.port import Message
from writ_contracts import subjects
from writ_contracts.agents import BaselineNotice
from writ_contracts.decisions import RuleLimit
from writ_contracts.journal import Dispatched, LockTaken
from writ_contracts.wire import decode, encode
from writ_executor.journal.recorder import Recorder
from writ_executor.service import Executor
from writ_testing.eventually import eventually

SERVICE = {"service_name": "nginx"}


class Noticed:
    """The notices that a pool got."""

    def __init__(self) -> None:
        self.notices: list[BaselineNotice] = []

    async def handle(self, message: Message) -> None:
        self.notices.append(decode(message.data, BaselineNotice))


async def replica(world: World, *, agents: tuple[str, ...] = ("",)) -> tuple[Executor, Noticed]:
    """Return an executor that knows these agents by instance."""
    one, noticed = await world.executor(), Noticed()
    await world.bus.subscribe(subjects.baseline_notice(POOL), noticed.handle)
    for instance in agents:
        await heartbeat(world, instance=instance)

    async def known() -> bool:
        return len(one.presence.agents(POOL)) == len(agents)

    await eventually(known)
    return one, noticed


async def change(world: World) -> Dispatched:
    """Restart a service. Return the dispatch."""
    answer = await world.ask("service_restart", parameters=SERVICE)
    assert (answer.state, answer.error) == ("dispatched", None)
    return await world.work(answer.operation_id or "")


async def finished(world: World) -> Dispatched:
    """The same, to its end: then the executor knows that the target is free."""
    work = await change(world)
    await world.hands.finish(work, await world.hands.claim(work))
    assert await world.outcome(work.operation_id) == "succeeded"
    return work


async def test_agent_gets_a_notice_of_a_change_with_all_that_the_read_needs(world: World) -> None:
    _, noticed = await replica(world)
    await finished(world)
    work = await change(world)
    assert work.noticed
    [notice] = noticed.notices
    assert notice == BaselineNotice(
        operation_id=work.operation_id,
        operation=work.operation,
        target=work.target,
        parameters=work.parameters,
        look=notice.look,
        look_key=work.look_key,
    )
    assert notice.look == work.look
    assert (await world.hands.claim(work)).answer.grant


async def test_notice_is_there_before_the_request_is_recorded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _, noticed = await replica(world)
    await finished(world)
    original = Recorder.append

    async def there() -> bool:
        return len(noticed.notices) == 1

    async def append(self: Recorder, life: object, event: object) -> object:
        await eventually(there)
        return await original(self, life, event)  # type: ignore[call-overload]

    monkeypatch.setattr(Recorder, "append", append)
    assert (await change(world)).noticed


async def test_first_change_of_a_target_has_no_notice(world: World) -> None:
    """The executor has not seen its lock so far."""
    _, noticed = await replica(world)
    assert not (await change(world)).noticed
    assert noticed.notices == []


async def test_change_of_a_held_target_has_no_notice(world: World) -> None:
    _, noticed = await replica(world)
    first = await change(world)
    second = (await world.ask("service_restart", parameters=SERVICE)).operation_id or ""
    await world.hands.finish(first, await world.hands.claim(first))
    assert not (await world.work(second)).noticed
    assert noticed.notices == []


@pytest.mark.parametrize("agents", [(), ("one", "two")], ids=["no agent", "two agents"])
async def test_no_notice_is_sent_unless_one_agent_alone_receives_it(world: World, agents: tuple[str, ...]) -> None:
    _, noticed = await replica(world, agents=agents)
    await finished(world)
    assert not (await change(world)).noticed
    assert noticed.notices == []


async def test_change_under_a_limit_has_no_notice(world: World) -> None:
    world.policy.limits["service_restart"] = [RuleLimit("at most three", "max_concurrent", 3)]
    _, noticed = await replica(world)
    await finished(world)
    assert not (await change(world)).noticed
    assert noticed.notices == []


async def test_denied_request_has_no_notice(world: World) -> None:
    _, noticed = await replica(world)
    await finished(world)
    world.policy.effects["service_restart"] = "deny"
    assert (await world.ask("service_restart", parameters=SERVICE)).outcome == "denied"
    assert noticed.notices == []


async def test_dispatch_confirms_no_notice_after_another_operation_took_the_target(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other executor's operation may have changed the target after the baseline was read."""
    one, noticed = await replica(world)
    earlier = await finished(world)
    line = subjects.target_lock("web-1")
    original = Recorder.take_lock

    async def take_lock(self: Recorder, requested: object, lock: object) -> None:
        """Take it after another executor, for an operation that has ended since."""
        monkeypatch.setattr(Recorder, "take_lock", original)
        last = await world.bus.journal.last(line)
        assert last is not None
        taken = LockTaken(
            **one.recorder.stamp(), target="web-1", operation_id=earlier.operation_id, principal=earlier.principal
        )
        await one.recorder.append_after(last.sequence, line, taken)
        await original(self, requested, lock)  # type: ignore[arg-type]

    monkeypatch.setattr(Recorder, "take_lock", take_lock)
    answer = await world.ask("service_restart", parameters=SERVICE)
    work = await world.work(answer.operation_id or "")
    assert len(noticed.notices) == 1
    assert not work.noticed


async def test_executor_of_the_release_before_dispatches_without_the_field(world: World) -> None:
    await replica(world)
    data = encode(await finished(world)).replace(b'"noticed":false,', b"")
    assert b"noticed" not in data
    assert not decode(data, Dispatched).noticed
