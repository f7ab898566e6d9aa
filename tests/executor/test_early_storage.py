"""Large hidden parameters are stored while policy decides, after an accepted request, and deleted unless accepted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import msgpack, structs
from tests.executor.conftest import World
from tests.executor.test_parameter_retention import SECONDS, demanding

from writ_contracts import subjects
from writ_contracts.journal import Refused
from writ_contracts.large_texts import LARGE
from writ_contracts.requests import Failure, RequestReply
from writ_contracts.wire import MSGPACK
from writ_executor.steps.parameter_retention import PENDING_SLACK
from writ_testing.eventually import eventually

CONTENT = "a line\n" * (LARGE // 7 + 1)
KEY = {"idempotency_key": "k" * 20}


async def ask(world: World, principal: str = "alice", **wish: Any) -> RequestReply:
    parameters = {"file_path": "/srv/app/f", "content": CONTENT, **wish.pop("parameters", {})}
    return await world.ask("file_write", principal, parameters=parameters, **wish)


def stored(world: World) -> set[str]:
    """Return the ids of the operations with stored parameters."""
    return {name.split(".")[2] for name in world.broker.disk.kept if name.startswith("writ.params.")}


async def accepted(world: World) -> str:
    """Return the id of a first large request, which policy accepted."""
    answer = await ask(world)
    assert answer.error is None, answer
    return answer.operation_id or ""


@asynccontextmanager
async def undecided(world: World, *requests: dict[str, Any]) -> AsyncIterator[list[asyncio.Task[RequestReply]]]:
    """Send large requests on which policy decides at the end of the block."""
    world.policy.decides_now.clear()
    asking = [asyncio.create_task(ask(world, **request)) for request in requests]
    try:
        yield asking
    finally:
        world.policy.decides_now.set()
        await asyncio.gather(*asking)


async def number_stored(world: World, number: int) -> None:
    """Wait until so many operations have stored parameters, and nothing is under way in the executors."""

    async def check() -> bool:
        await asyncio.gather(*(one.background.settle() for one in world.executors))
        return len(stored(world)) == number

    await eventually(check)


async def policy_is_asked(world: World, number: int) -> None:
    """Wait until so many requests wait for policy, and their executors wait for nothing else."""

    async def check() -> bool:
        return world.policy.waiting == number

    await eventually(check)


@pytest.mark.parametrize("more", [{}, KEY], ids=["no key", "a key"])
async def test_large_parameters_are_stored_once_while_policy_decides(world: World, more: dict[str, Any]) -> None:
    await world.executor()
    await accepted(world)
    async with undecided(world, more) as (asking,):
        await number_stored(world, 2)
        before = dict(world.broker.disk.versions)
    answer = asking.result()
    assert answer.operation_id in stored(world)
    assert world.broker.disk.versions == before
    other = await world.executor()  # which has nothing in its memory
    requested = (await world.accepted(answer.operation_id)).requested
    assert await other.intake._vault.parameters(requested) == {"file_path": "/srv/app/f", "content": CONTENT}


@pytest.mark.parametrize("outcome", ["denied", "invalid"])
async def test_parameters_of_a_request_that_is_not_accepted_are_deleted(world: World, outcome: str) -> None:
    await world.executor()
    first = await accepted(world)
    async with undecided(world, {}) as (asking,):
        await number_stored(world, 2)
        if outcome == "denied":
            world.policy.effects["file_write"] = "deny"
        else:
            world.policy.errors["file_write"] = Failure(code="unknown_target", message="it is gone")
    assert asking.result().outcome == outcome
    await number_stored(world, 1)
    assert stored(world) == {first}


async def packed(world: World, content: str) -> RequestReply:
    request = {"target": "web-1", "parameters": {"file_path": "/srv/app/f", "content": content}}
    subject, headers = subjects.request("alice", "file_write"), {"Content-Type": MSGPACK}
    message = await world.bus.request(subject, msgpack.encode(request), timeout=20, headers=headers)
    return msgpack.decode(message.data, type=RequestReply)


async def test_request_in_messagepack_is_accepted_like_its_json(world: World) -> None:
    one = await world.executor()
    await accepted(world)
    answer = await packed(world, CONTENT)
    assert answer.error is None, answer
    requested = (await world.accepted(answer.operation_id)).requested
    assert await one.intake._vault.parameters(requested) == {"file_path": "/srv/app/f", "content": CONTENT}
    assert answer.operation_id in stored(world)


@pytest.mark.parametrize("early", [True, False])
async def test_request_in_messagepack_that_is_too_large_as_json_is_refused_and_not_kept(
    world: World, early: bool
) -> None:
    await world.executor()
    before = {await accepted(world)} if early else set()
    answer = await packed(world, "\n" * 800_000)
    assert answer.error is not None
    assert (answer.outcome, answer.error.code) == ("invalid", "oversize")
    await number_stored(world, len(before))
    assert stored(world) == before
    (refused,) = [event for event in await world.events() if isinstance(event, Refused)]
    assert refused.operation_id == answer.operation_id


async def test_a_denied_principal_stores_nothing_more(world: World) -> None:
    await world.executor()
    first = await accepted(world)
    world.policy.effects["file_write"] = "deny"
    assert (await ask(world)).outcome == "denied"
    await number_stored(world, 1)
    before = dict(world.broker.disk.versions)
    assert (await ask(world)).outcome == "denied"
    assert (stored(world), world.broker.disk.versions) == ({first}, before)


async def test_one_request_is_stored_early_for_each_accepted_one(world: World) -> None:
    await world.executor()
    await accepted(world)
    async with undecided(world, {}, {}, {}):
        await policy_is_asked(world, 3)
        await number_stored(world, 2)
    await number_stored(world, 4)


async def test_the_request_of_another_principal_is_not_stored_early(world: World) -> None:
    await world.executor()
    first = await accepted(world)
    async with undecided(world, {"principal": "bob"}):
        await policy_is_asked(world, 1)
        assert stored(world) == {first}
    await number_stored(world, 2)


async def test_nothing_is_stored_early_beyond_a_principals_quota(world: World) -> None:
    await world.executor(most_hidden=LARGE * 3 // 2)
    first = await accepted(world)
    async with undecided(world, {}) as (asking,):
        await policy_is_asked(world, 1)
        assert stored(world) == {first}
    error = asking.result().error
    assert error is not None
    assert error.code == "too_many_open"
    assert stored(world) == {first}


async def test_an_early_copy_takes_a_principals_room_until_policy_has_decided(world: World) -> None:
    other = structs.replace(world.targets[0], id="web-2")
    world.targets.append(other)
    world.policy.know([other])
    one = await world.executor(most_hidden=LARGE * 7 // 2)
    await accepted(world)
    assert (await ask(world, target="web-2")).error is None
    async with undecided(world, {}, {"target": "web-2"}) as asking:
        await policy_is_asked(world, 2)
        await number_stored(world, 3)
    answers = [task.result() for task in asking]
    assert [answer.error.code for answer in answers if answer.error] == ["too_many_open"]
    await number_stored(world, 3)
    world.policy.effects["file_write"] = "deny"
    assert [(await ask(world)).outcome for _ in range(2)] == ["denied", "denied"]
    await number_stored(world, 3)
    assert one.admission.quotas._reserved["principal"].of("alice", "hidden_bytes") == 0


async def test_parameters_are_stored_for_longer_where_the_decision_demands_an_approval(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.executor()
    first = await accepted(world)
    async with undecided(world, {}) as (asking,):
        await number_stored(world, 2)
        (name,) = (one for one in world.broker.disk.kept if one.startswith("writ.params.") and first not in one)
        before = world.broker.disk.kept[name][1]
        demanding(world, monkeypatch)
    assert asking.result().state == "awaiting_approval"
    assert world.broker.disk.kept[name][1] > before + PENDING_SLACK / 2 + SECONDS


async def test_the_stored_parameters_of_a_request_sent_twice_stay(world: World) -> None:
    """Two replicas get the same request at once. One of them stores it early, and finds it recorded by the other."""
    await world.executor()
    await world.executor()
    for _ in range(8):  # whichever replica gets a request: each has accepted one
        await accepted(world)
    number = len(stored(world))
    async with undecided(world, KEY, KEY) as asking:
        await policy_is_asked(world, 2)
        await number_stored(world, number + 1)
    answers = {task.result().operation_id for task in asking}
    assert len(answers) == 1
    await number_stored(world, number + 1)
    assert answers <= stored(world)
