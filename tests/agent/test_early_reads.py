"""Early reads need a valid read grant, and their result leaves the agent only once the claim is granted."""

import asyncio
import time
from typing import Any

import pytest
from msgspec import structs
from tests.agent.conftest import POOL, READ, TARGET, Reader, World, gone, held, until

from writ_agent.work import early_read
from writ_contracts.agents import Claim, ClaimReply
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue
from writ_contracts.signing import Signed
from writ_testing.fakes.scripted_executor import DispatchedOperation
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign


async def read_once_granted(world: World, reader: Reader, answered: asyncio.Event, operation_id: str) -> None:
    """Assert that nothing was read so far, and one read follows the answer to the claim."""
    assert reader.begun == []
    reader.go_on.set()
    answered.set()
    assert (await world.executor.ended(operation_id)).state == {"reading": 1}


async def test_early_read_runs_once_while_the_claim_waits_and_is_reported_under_the_grant(
    world: World, reader: Reader
) -> None:
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


async def test_early_read_does_not_depend_on_the_time_of_the_claim(world: World, reader: Reader) -> None:
    answered, original = held(world), world.executor.append

    async def late(work: Any) -> None:
        await original(structs.replace(work, start_by=time.time() - 3_600))

    world.executor.append = late  # type: ignore[method-assign]
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await until(lambda: len(reader.begun) == 1)
    reader.go_on.set()
    answered.set()
    assert (await world.executor.ended(operation_id)).state == {"reading": 1}


async def test_a_reading_that_takes_longer_than_the_claim_is_waited_for(world: World, reader: Reader) -> None:
    agent = await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    hands = agent._parts.in_flight
    await until(lambda: any(hand.running is not None for hand in hands))
    assert len(reader.begun) == 1
    reader.go_on.set()
    assert (await world.executor.ended(operation_id)).state == {"reading": 1}


async def test_agent_without_a_read_grant_reads_nothing_before_the_grant(world: World, reader: Reader) -> None:
    answered, original = held(world), world.executor.append

    async def bare(work: Any) -> None:
        await original(structs.replace(work, ahead=None, look_key=""))

    world.executor.append = bare  # type: ignore[method-assign]
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await world.executor.until(lambda: bool(world.executor.operations[operation_id].claims))
    await read_once_granted(world, reader, answered, operation_id)


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
async def test_invalid_read_grant_permits_no_early_read_and_is_reported(
    changed: dict[str, Any], world: World, reader: Reader
) -> None:
    answered, original = held(world), world.executor.read_grant

    def wrong(*parts: Any, **_: Any) -> Signed:
        honest = dict(zip(("operation_id", "operation", "target", "actions", "parameters", "key"), parts, strict=True))
        return original(**{**honest, **changed})

    world.executor.read_grant = wrong  # type: ignore[method-assign]
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == ["forged_look"])
    await read_once_granted(world, reader, answered, operation_id)


async def test_expired_read_grant_is_useless_and_no_attack(world: World, reader: Reader) -> None:
    answered, original = held(world), world.executor.read_grant

    def expired(*parts: Any, **_: Any) -> Signed:
        return original(*parts, expires_at=time.time() - 1)

    world.executor.read_grant = expired  # type: ignore[method-assign]
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await world.executor.until(lambda: bool(world.executor.operations[operation_id].claims))
    await read_once_granted(world, reader, answered, operation_id)
    assert world.executor.reports == []


async def test_agent_makes_no_early_read_if_its_catalogue_forbids_it(world: World, reader: Reader) -> None:
    known = [structs.replace(one, ahead=False) if one.name == READ else one for one in world.catalogue.values()]
    world.catalogue = Catalogue(known)
    answered = held(world)
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await world.executor.until(lambda: bool(world.executor.operations[operation_id].claims))
    await read_once_granted(world, reader, answered, operation_id)


async def test_declined_claim_ends_the_early_read_and_nothing_is_reported(world: World, reader: Reader) -> None:
    answered = held(world, gone)
    agent = await world.agent()
    await world.executor.dispatch(READ, TARGET)
    await until(lambda: len(reader.begun) == 1)
    answered.set()
    await until(lambda: reader.ended == [1] and not list(agent._parts.in_flight))
    assert world.executor.receipts == []
    assert world.executor.progress == []


async def test_a_grant_that_does_not_hold_gets_no_reading(world: World, reader: Reader) -> None:
    async def forged(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        grant = sign(Key(generate_seed()), world.executor.honest_grant(dispatched, claim, signed))
        return world.executor.sealed(dispatched, claim, grant)

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
async def test_early_read_is_repeated_if_the_grant_differs(
    changed: dict[str, Any], world: World, reader: Reader
) -> None:
    async def other(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        grant = structs.replace(world.executor.honest_grant(dispatched, claim, signed), **changed)
        return world.executor.sealed(dispatched, claim, sign(world.executor.key, grant))

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


async def test_early_read_long_before_its_start_is_repeated(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_read, "FRESH", 0.0)
    reader.go_on.set()
    answered = held(world)
    await world.agent()
    operation_id = await world.executor.dispatch(READ, TARGET)
    await until(lambda: reader.ended == [1])
    answered.set()
    assert (await world.executor.ended(operation_id)).state == {"reading": 2}
