"""Hidden parameters that an executor stored a moment ago are not read back for the claim."""

import asyncio
import sys
from typing import Any

import pytest
from msgspec import json
from tests.executor.conftest import World
from tests.executor.test_attached_outputs import replica
from tests.executor.test_lagging_replica import claim_at

from writ_contracts.journal import Dispatched
from writ_contracts.large_texts import LARGE
from writ_executor.journal.hidden_values import MOST_RECENT, memory_of

PARAMETERS = {"file_path": "/srv/app/a", "content": "a secret"}


async def dispatched(world: World) -> Dispatched:
    answer = await world.ask("file_write", parameters=PARAMETERS)
    return await world.work(answer.operation_id or "")


@pytest.fixture
def read_back(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the keys that executors read from the store of parameters, in order."""
    keys: list[str] = []
    get = type(world.bus.params).get

    async def noted(store: Any, key: str) -> bytes | None:
        keys.append(key)
        return await get(store, key)

    monkeypatch.setattr(type(world.bus.params), "get", noted)
    return keys


async def test_claim_at_the_executor_of_the_request_reads_no_parameters_back(
    world: World, read_back: list[str]
) -> None:
    await world.executor()
    work = await dispatched(world)
    held = await world.hands.claim(work)
    assert held.parameters.items() >= PARAMETERS.items()
    assert not [key for key in read_back if key.startswith(work.operation_id)]


async def test_claim_at_another_executor_reads_the_parameters_from_the_store(
    world: World, read_back: list[str]
) -> None:
    await world.executor()
    work = await dispatched(world)
    assert (await claim_at(await world.executor(), world, work)).grant
    assert len([key for key in read_back if key.startswith(work.operation_id)]) == 1


async def test_executor_keeps_no_parameters_of_an_ended_operation(world: World) -> None:
    one = await world.executor()
    work = await dispatched(world)
    recent = one.claims._vault._recent
    assert len(recent._entries) == 1
    await world.hands.finish(work, await world.hands.claim(work))
    await asyncio.gather(*(executor.background.settle() for executor in world.executors))
    assert not recent._entries


@pytest.mark.parametrize(
    "value",
    [
        "{}",
        "[]",
        "[0]",
        "[[]]",
        '{"":0}',
        '{"a":{}}',
        '{"a":0,"b":1}',
        "1.5",
        "-1",
        "300",
        "true",
        '"é"',
        '"😀"',
        '"a😀"',
    ],
)
def test_parameters_take_no_more_memory_than_they_count_for(value: str) -> None:
    parameters = json.decode(f'{{"name":[{",".join([value] * 1000)}],"text":"{"é" * 1000}"}}')
    assert sum(map(_size, parameters.values())) <= memory_of(parameters)


def test_large_text_counts_for_little_more_than_its_size() -> None:
    parameters = {"file_path": "/srv/app/a", "content": "a line\n" * 150_000, "create": True}
    assert memory_of(parameters) < 1_060_000 < MOST_RECENT / 14


async def test_encrypted_texts_count_among_what_is_kept(world: World) -> None:
    one = await replica(world)
    given = {"file_path": "/srv/app/a", "content": "x" * LARGE}
    answer = await world.ask("file_write", parameters=given)
    assert answer.error is None
    vault = one.intake._vault
    texts = (await vault.hidden((await world.accepted(answer.operation_id)).requested)).texts
    assert texts is not None
    assert vault._recent._bytes >= memory_of(given) + len(texts.data)


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return sys.getsizeof(value) + sum(map(_size, value.values()))
    return sys.getsizeof(value) + (sum(map(_size, value)) if isinstance(value, list) else 0)
