"""Parameters sealed ahead of the grant are sent for the same parameters only."""

import asyncio
from typing import Any

import pytest
from msgspec import json
from tests.executor.conftest import World

from writ_contracts.agents import SealedParameters
from writ_contracts.decisions import GrantRequest
from writ_contracts.journal import Requested
from writ_contracts.large_texts import LARGE
from writ_contracts.wire import decode
from writ_executor.policy.client import CheckedDecision
from writ_executor.steps import parameter_seal
from writ_executor.steps.parameter_seal import ParameterSeal
from writ_trust.sealing import SealKey, seal

PARAMETERS = {"file_path": "/srv/f", "content": "x" * LARGE}


@pytest.fixture
def seals(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the key of each seal."""
    keys: list[str] = []

    def noted(public: str, data: bytes) -> bytes:
        keys.append(public)
        return seal(public, data)

    monkeypatch.setattr(parameter_seal, "seal", noted)
    return keys


async def requested(world: World) -> Requested:
    await world.executor()
    answer = await world.ask("file_write", parameters=PARAMETERS)
    return (await world.accepted(answer.operation_id)).requested


def opened(key: SealKey, sealed: bytes) -> dict[str, Any]:
    return decode(key.open(json.decode(sealed, type=bytes)), SealedParameters).parameters


async def test_large_parameters_are_sealed_once_while_policy_decides_on_the_grant(
    world: World, seals: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = await world.executor()
    grant, prepare, prepared = executor._policy.grant, ParameterSeal.prepare, asyncio.Event()

    async def grant_afterwards(request: GrantRequest, decided: str = "") -> CheckedDecision:
        async with asyncio.timeout(10):
            await prepared.wait()
        return await grant(request, decided)

    def noted(sealing: ParameterSeal) -> None:
        prepare(sealing)
        prepared.set()

    monkeypatch.setattr(executor._policy, "grant", grant_afterwards)
    monkeypatch.setattr(ParameterSeal, "prepare", noted)
    answer = await world.ask("file_write", parameters=PARAMETERS)
    claimed = await world.hands.claim(await world.work(answer.operation_id or ""))
    assert claimed.parameters["content"] == PARAMETERS["content"]
    assert len(seals) == 1


@pytest.mark.parametrize("changed", [{"timeout": 7}, {"timeout": 60.0}, {"content": "y" * LARGE}, {"mode": "0600"}])
async def test_other_parameters_than_those_sealed_ahead_are_sealed_again(
    world: World, seals: list[str], changed: dict[str, Any]
) -> None:
    operation, key = await requested(world), SealKey()
    sealing = ParameterSeal(key.public, "ab" * 32, operation, PARAMETERS)
    sealing.prepare()
    expected = {**PARAMETERS, **operation.effective}
    assert expected["timeout"] == 60
    assert opened(key, sealing.of(dict(reversed(expected.items())))) == expected
    assert len(seals) == 1
    other = {**expected, **changed}
    found = opened(key, sealing.of(other))
    assert json.encode(found, order="sorted") == json.encode(other, order="sorted")
    assert len(seals) == 2


async def test_claim_with_a_broken_key_is_refused_only_once_it_is_verified(world: World) -> None:
    sealing = ParameterSeal("no key", "ab" * 32, await requested(world), PARAMETERS)
    sealing.prepare()
    with pytest.raises(Exception, match="not an X25519 public key"):
        sealing.of(PARAMETERS)
