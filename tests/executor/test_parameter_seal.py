"""Parameters sealed ahead of the grant are sent for the same parameters only."""

import asyncio
from typing import Any

import pytest
from msgspec import json, structs
from tests.executor.conftest import POOL, World

from writ_agent.verification import with_texts
from writ_contracts import subjects
from writ_contracts.agents import TEXTS_APART, TEXTS_HEADER, ClaimMessage, ClaimReply, SealedParameters
from writ_contracts.attached_bytes import detach
from writ_contracts.decisions import GrantRequest
from writ_contracts.journal import Requested
from writ_contracts.large_texts import LARGE
from writ_contracts.operations import Risk
from writ_contracts.signing import Statement
from writ_contracts.wire import decode, encode
from writ_executor.journal.large_parameters import LargeParameters
from writ_executor.journal.stored_parameters import HiddenParameters
from writ_executor.policy.client import CheckedDecision
from writ_executor.steps import claims, parameter_seal
from writ_executor.steps.parameter_seal import ParameterSeal, Sealed
from writ_trust.sealing import SealKey, decrypt_once, seal
from writ_trust.statements import sign

PARAMETERS = {"file_path": "/srv/f", "content": "x" * LARGE}


class AnyStatement(Statement, frozen=True, kw_only=True, tag="writ.test.v1"):
    """A statement whose content does not matter here."""


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


def opened(key: SealKey, sealed: Sealed) -> dict[str, Any]:
    assert sealed.texts == b""
    return decode(key.open(json.decode(sealed.parameters, type=bytes)), SealedParameters).parameters


@pytest.mark.parametrize("content", [PARAMETERS["content"], "small"])
async def test_parameters_are_sealed_once_while_policy_decides_on_the_grant(
    world: World, seals: list[str], monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    executor = await world.executor()
    grant, prepare, prepared = executor.base.policy.grant, ParameterSeal.prepare, asyncio.Event()

    async def grant_afterwards(request: GrantRequest, *about: Any) -> CheckedDecision:
        async with asyncio.timeout(10):
            await prepared.wait()
        return await grant(request, *about)

    def noted(sealing: ParameterSeal) -> None:
        prepare(sealing)
        prepared.set()

    monkeypatch.setattr(executor.base.policy, "grant", grant_afterwards)
    monkeypatch.setattr(ParameterSeal, "prepare", noted)
    answer = await world.ask("file_write", parameters={**PARAMETERS, "content": content})
    claimed = await world.hands.claim(await world.work(answer.operation_id or ""))
    assert claimed.parameters["content"] == content
    assert len(seals) == 1


@pytest.mark.parametrize("changed", [{"timeout": 7}, {"timeout": 60.0}, {"content": "y" * LARGE}, {"mode": "0600"}])
async def test_other_parameters_than_those_sealed_ahead_are_sealed_again(
    world: World, seals: list[str], changed: dict[str, Any]
) -> None:
    operation, key = await requested(world), SealKey()
    sealing = ParameterSeal(key.public, "ab" * 32, operation, HiddenParameters(values=PARAMETERS))
    sealing.prepare()
    expected = {**PARAMETERS, **operation.effective}
    assert expected["timeout"] == 60
    assert opened(key, sealing.of(dict(reversed(expected.items())))) == expected
    assert len(seals) == 1
    other = {**expected, **changed}
    found = opened(key, sealing.of(other))
    assert json.encode(found, order="sorted") == json.encode(other, order="sorted")
    assert len(seals) == 2


async def claimed(world: World) -> tuple[SealKey, bytes]:
    """Return the reply to a claim of a large write by an agent that reads attached texts, and the key that opens it."""
    answer = await world.ask("file_write", parameters=PARAMETERS)
    key, work = SealKey(), await world.work(answer.operation_id or "")
    claim = encode(ClaimMessage(claim=world.hands.claim_for(work, key), principal=work.principal))
    headers = {TEXTS_HEADER: TEXTS_APART}
    reply = await world.bus.request(subjects.claim(POOL), claim, timeout=20, headers=headers)
    return key, reply.data


async def test_large_texts_are_attached_for_an_agent_that_reads_them_so(world: World) -> None:
    await world.executor()
    key, reply = await claimed(world)
    message, texts = detach(reply)
    found = decode(key.open(decode(message, ClaimReply).sealed), SealedParameters)
    assert len(message) < LARGE <= len(texts) < LARGE + 100
    assert (found.parameters.get("file_path"), found.parameters.get("content")) == ("/srv/f", None)
    assert found.texts == [("content", LARGE)]
    assert decrypt_once(bytes.fromhex(found.texts_key or ""), texts).decode() == PARAMETERS["content"]
    assert PARAMETERS["content"].encode() not in reply


async def test_without_aes_the_texts_stay_within_the_sealed_parameters(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "has_aes", lambda: False)
    await world.executor()
    key, reply = await claimed(world)
    found = decode(key.open(decode(reply, ClaimReply).sealed), SealedParameters)
    assert found.parameters["content"] == PARAMETERS["content"]


@pytest.mark.parametrize("risk", list(Risk))
async def test_large_signed_text_is_sealed_once_unless_the_agent_verifies_the_signature(
    world: World, risk: Risk
) -> None:
    statement = sign(world.hands.key, AnyStatement())
    operation, key = structs.replace(await requested(world), statement=statement, risk=risk), SealKey()
    given = {"file_path": "/srv/f", "content": "a line of the text\n" * 55_000}
    sealed = ParameterSeal(key.public, "ab" * 32, operation, HiddenParameters(values=given)).of(given)
    found = decode(key.open(json.decode(sealed.parameters, type=bytes)), SealedParameters, limit=3_000_000)
    assert (found.parameters, found.statement) == (given, statement)
    assert found.given == (given if risk is Risk.ADMIN else {"file_path": "/srv/f"})
    assert (len(sealed.parameters) < 1_600_000) == (risk is not Risk.ADMIN)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("content", ["x" * LARGE, "é" * LARGE])
async def test_given_parameters_are_whole_again_where_their_texts_are_the_effective_ones(
    world: World, content: str, signed: bool
) -> None:
    statement = sign(world.hands.key, AnyStatement()) if signed else None
    operation, key = structs.replace(await requested(world), statement=statement), SealKey()
    given = {"file_path": "/srv/f", "content": content, "note": "y" * LARGE}
    stored = HiddenParameters(values=given, texts=LargeParameters("ab" * 32, given).encrypted)
    sealed = ParameterSeal(key.public, "ab" * 32, operation, stored, apart=True).of({**given, "note": "z" * LARGE})
    assert len(sealed.parameters) < (2 * LARGE if signed else LARGE)
    found = with_texts(decode(key.open(json.decode(sealed.parameters, type=bytes)), SealedParameters), sealed.texts)
    assert found.parameters == {**given, "note": "z" * LARGE}
    assert found.given == (given if signed else {})


async def test_claim_with_a_broken_key_is_refused_only_once_it_is_verified(world: World) -> None:
    sealing = ParameterSeal("no key", "ab" * 32, await requested(world), HiddenParameters(values=PARAMETERS))
    sealing.prepare()
    with pytest.raises(Exception, match="not an X25519 public key"):
        sealing.of(PARAMETERS)
