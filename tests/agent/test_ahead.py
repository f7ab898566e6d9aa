"""What may be read ahead is read while its claim waits: only under a look that holds, and told only when granted."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest
from msgspec import structs
from tests.agent.conftest import POOL, TARGET, World, until

from writ_agent import ahead
from writ_agent.backend import Done, Progress, Task
from writ_contracts.agents import Claim, ClaimAnswer
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed
from writ_testing.scripted_executor import Answering, Asked
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

READ = "test_noop"


class Reader:
    """What the backend does for READ: each reading is numbered, and lasts until `go_on` is set."""

    def __init__(self, world: World) -> None:
        self.begun: list[Task] = []
        self.ended: list[int] = []
        self.go_on = asyncio.Event()
        world.backend.scripts[READ] = self._read

    async def _read(self, task: Task, progress: Progress) -> Done:
        progress("reading")
        self.begun.append(task)
        number = len(self.begun)
        try:
            await self.go_on.wait()
        finally:
            self.ended.append(number)
        return Done(outcome="succeeded", state={"reading": number})


@pytest.fixture
def reader(world: World) -> Reader:
    """In a world where READ may be read ahead, for all who know it."""
    known = [structs.replace(one, ahead=True) if one.name == READ else one for one in world.catalogue.values()]
    world.catalogue = world.executor.catalogue = Catalogue(known)
    return Reader(world)


def held(world: World, answer: Answering | None = None) -> asyncio.Event:
    """Claims are answered once this is set."""
    answered = asyncio.Event()
    then = answer or world.executor.answering

    async def wait(asked: Asked, claim: Claim, signed: Signed) -> ClaimAnswer | None:
        await answered.wait()
        return await then(asked, claim, signed)

    world.executor.answering = wait
    return answered


async def gone(asked: Asked, claim: Claim, signed: Signed) -> ClaimAnswer:
    """As when somebody else has it."""
    return ClaimAnswer(error=Failure(code="gone", message="too late"))


async def test_it_is_read_once_while_the_claim_waits_and_told_under_the_grant(world: World, reader: Reader) -> None:
    answered = held(world)
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await until(lambda: len(reader.begun) == 1)
    reader.go_on.set()
    await until(lambda: reader.ended == [1])
    assert world.executor.receipts == []
    answered.set()
    receipt = await world.executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect, receipt.state) == ("succeeded", "none", {"reading": 1})
    assert len(reader.begun) == 1
    assert world.executor.progress == []


async def test_a_reading_that_takes_longer_than_the_claim_is_waited_for(world: World, reader: Reader) -> None:
    agent = await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    hands = agent._hands
    await until(lambda: any(hand.running is not None for hand in hands))
    assert len(reader.begun) == 1
    reader.go_on.set()
    assert (await world.executor.ended(operation_id)).state == {"reading": 1}


async def test_without_a_look_nothing_is_read_before_the_grant(world: World, reader: Reader) -> None:
    answered, original = held(world), world.executor.append

    async def bare(work: Any) -> None:
        await original(structs.replace(work, ahead=None, look_key=""))

    world.executor.append = bare  # type: ignore[method-assign]
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await world.executor.until(lambda: bool(world.executor.asked[operation_id].claims))
    assert reader.begun == []
    reader.go_on.set()
    answered.set()
    assert (await world.executor.ended(operation_id)).state == {"reading": 1}


WRONG: dict[str, dict[str, Any]] = {
    "signed by another key": {"signer": Key(generate_seed())},
    "for another pool": {"pool": "pool-2"},
    "for a target of another pool": {"target": Target(id="host-1", role="testing", backend="fake", agent="pool-2")},
    "for another target": {"target": Target(id="host-2", role="testing", backend="fake", agent=POOL)},
    "for other parameters": {"parameters_digest": "0" * 64},
    "for a baseline": {"actions": ["baseline"]},
    "for a preview": {"actions": ["preview"]},
    "for another operation": {"operation": "test_sleep"},
}


@pytest.mark.parametrize("changed", WRONG.values(), ids=WRONG.keys())
async def test_under_a_look_that_is_wrong_nothing_is_read_ahead_and_it_is_told(
    changed: dict[str, Any], world: World, reader: Reader
) -> None:
    answered, original = held(world), world.executor.look

    def wrong(*parts: Any, **_: Any) -> Signed:
        honest = dict(zip(("operation_id", "operation", "target", "actions", "parameters", "key"), parts, strict=True))
        return original(**{**honest, **changed})

    world.executor.look = wrong  # type: ignore[method-assign]
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == ["forged_look"])
    assert reader.begun == []
    reader.go_on.set()
    answered.set()
    assert (await world.executor.ended(operation_id)).state == {"reading": 1}


async def test_an_expired_look_is_no_attack_and_of_no_use(world: World, reader: Reader) -> None:
    answered, original = held(world), world.executor.look

    def expired(*parts: Any, **_: Any) -> Signed:
        return original(*parts, expires_at=time.time() - 1)

    world.executor.look = expired  # type: ignore[method-assign]
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await world.executor.until(lambda: bool(world.executor.asked[operation_id].claims))
    assert reader.begun == []
    reader.go_on.set()
    answered.set()
    assert (await world.executor.ended(operation_id)).state == {"reading": 1}
    assert world.executor.reports == []


async def test_an_operation_that_this_agent_knows_otherwise_is_not_read_ahead(world: World, reader: Reader) -> None:
    known = [structs.replace(one, ahead=False) if one.name == READ else one for one in world.catalogue.values()]
    world.catalogue = Catalogue(known)
    answered = held(world)
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await world.executor.until(lambda: bool(world.executor.asked[operation_id].claims))
    assert reader.begun == []
    reader.go_on.set()
    answered.set()
    assert (await world.executor.ended(operation_id)).state == {"reading": 1}


async def test_a_claim_that_is_declined_ends_the_reading_and_nothing_is_told(world: World, reader: Reader) -> None:
    answered = held(world, gone)
    agent = await world.agent()
    await world.executor.dispatch(READ, TARGET)
    await until(lambda: len(reader.begun) == 1)
    answered.set()
    await until(lambda: reader.ended == [1] and not list(agent._hands))
    assert world.executor.receipts == []
    assert world.executor.progress == []


async def test_a_grant_that_does_not_hold_gets_no_reading(world: World, reader: Reader) -> None:
    async def forged(asked: Asked, claim: Claim, signed: Signed) -> ClaimAnswer:
        grant = sign(Key(generate_seed()), world.executor.honest_grant(asked, claim, signed))
        return world.executor.sealed(asked, claim, grant)

    answered = held(world, forged)
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    reader.go_on.set()
    await until(lambda: reader.ended == [1])
    answered.set()
    receipt = await world.executor.ended(operation_id)
    assert (receipt.outcome, receipt.state, receipt.effect) == ("failed", {}, "none")
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == ["forged_grant"])


CHANGED: dict[str, dict[str, Any]] = {
    "for less time": {"timeout": 3},
    "for a target that is reached otherwise": {
        "target": Target(id="host-1", role="testing", backend="fake", agent=POOL, connection={"host": "192.0.2.1"})
    },
}


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED.keys())
async def test_a_grant_for_something_else_has_it_read_again(
    changed: dict[str, Any], world: World, reader: Reader
) -> None:
    async def other(asked: Asked, claim: Claim, signed: Signed) -> ClaimAnswer:
        grant = structs.replace(world.executor.honest_grant(asked, claim, signed), **changed)
        return world.executor.sealed(asked, claim, sign(world.executor.key, grant))

    answered = held(world, other)
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await until(lambda: len(reader.begun) == 1)
    answered.set()
    await until(lambda: len(reader.begun) == 2)
    assert reader.ended == [1]  # two never go on beside each other
    reader.go_on.set()
    assert (await world.executor.ended(operation_id)).state == {"reading": 2}
    assert {name: getattr(reader.begun[1], name) for name in changed} == changed


async def test_what_was_read_long_before_its_start_is_read_again(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "FRESH", 0.0)
    reader.go_on.set()
    answered = held(world)
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await until(lambda: reader.ended == [1])
    answered.set()
    assert (await world.executor.ended(operation_id)).state == {"reading": 2}


async def test_one_that_is_cancelled_before_its_grant_tells_nothing_of_what_was_read(
    world: World, reader: Reader
) -> None:
    answered = held(world)
    agent = await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    reader.go_on.set()
    await until(lambda: reader.ended == [1])
    hand = agent._hands.find(operation_id)
    assert hand is not None
    assert await hand.stop("cancel")
    answered.set()
    receipt = await world.executor.ended(operation_id)
    assert (receipt.outcome, receipt.state) == ("cancelled", {})
    assert len(reader.begun) == 1


async def test_one_that_is_cancelled_after_its_grant_is_ended(world: World, reader: Reader) -> None:
    agent = await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await until(lambda: any(hand.running is not None for hand in agent._hands))
    assert (await world.executor.cancel(operation_id)).result == "stopped"
    assert (await world.executor.ended(operation_id)).outcome == "cancelled"
    assert reader.ended == [1]


async def test_an_agent_that_stops_leaves_no_reading_behind(world: World, reader: Reader) -> None:
    held(world)
    agent = await world.agent(stop_grace=0.1)
    await world.executor.dispatch(READ, TARGET)
    await until(lambda: len(reader.begun) == 1)
    await agent.stop()
    assert reader.ended == [1]
    assert world.executor.receipts == []


async def test_a_reading_that_fails_is_the_operations_own_failure(world: World, reader: Reader) -> None:
    async def refuse(task: Task, progress: Progress) -> Done:
        reader.begun.append(task)
        return Done(outcome="failed", code="unreachable", message="nobody there")

    world.backend.scripts[READ] = refuse
    await world.agent()
    receipt = await world.executor.ended(await world.executor.dispatch(READ, TARGET))
    assert (receipt.outcome, receipt.code, receipt.effect) == ("failed", "unreachable", "none")
    assert len(reader.begun) == 1


async def test_one_that_nothing_ends_keeps_neither_its_place_nor_its_agent(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def for_ever(task: Task, progress: Progress) -> Done:
        reader.begun.append(task)
        while not reader.go_on.is_set():
            with suppress(asyncio.CancelledError):
                await reader.go_on.wait()
        return Done(outcome="succeeded")

    async def deaf(operation_id: str, grace: float) -> bool:
        return False

    monkeypatch.setattr(world.backend, "run", for_ever)
    monkeypatch.setattr(world.backend, "stop", deaf)
    answered = held(world, gone)
    agent = await world.agent()
    await world.executor.dispatch(READ, TARGET)
    await until(lambda: len(reader.begun) == 1)
    answered.set()
    await until(lambda: not list(agent._hands))
    reader.go_on.set()


async def test_all_who_end_it_wait_for_the_same_end(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    certain: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def slow(operation_id: str, grace: float) -> bool:
        return await asyncio.shield(certain)

    monkeypatch.setattr(world.backend, "stop", slow)
    answered = held(world)
    agent = await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await until(lambda: len(reader.begun) == 1)
    hand = agent._hands.find(operation_id)
    assert hand is not None
    stopping = asyncio.create_task(hand.stop("cancel"))
    answered.set()
    assert (await world.executor.ended(operation_id)).outcome == "cancelled"
    assert agent._hands.find(operation_id) is hand
    assert not stopping.done()
    certain.set_result(False)
    assert await stopping is False
    await until(lambda: not list(agent._hands))


async def test_a_defect_in_reading_ahead_keeps_nothing_from_being_run(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(ahead, "verify_ahead", broken)
    reader.go_on.set()
    await world.agent()
    assert (await world.executor.ended(await world.executor.dispatch(READ, TARGET))).state == {"reading": 1}
