"""Policy gets the digest of a large text in place of the text, until it needs the text."""

from typing import Any

import pytest
from tests.executor.conftest import POOL, SIGNED, World
from tests.rules.asking import CATALOGUE

from writ_contracts import subjects
from writ_contracts.agents import ClaimMessage, ClaimReply, SealedParameters
from writ_contracts.decisions import DecideRequest, Grant
from writ_contracts.journal import Requested
from writ_contracts.large_texts import LARGE
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_testing.fakes import scripted_policy
from writ_trust.digests import parameters_digest, text_digest
from writ_trust.sealing import SealKey
from writ_trust.statements import read

CONTENT = "x" * LARGE
PARAMETERS = {"file_path": "/srv/f", "content": CONTENT}
EFFECTIVE = CATALOGUE.find("file_write").check(PARAMETERS)


async def written(world: World, **more: Any) -> Requested:
    answer = await world.ask("file_write", parameters=PARAMETERS, **more)
    return (await world.accepted(answer.operation_id)).requested


def asked(world: World) -> DecideRequest:
    question = world.policy.decides[-1]
    assert isinstance(question, DecideRequest)
    return question


async def claimed(
    world: World, operation_id: str, claim: Signed | None = None, key: SealKey | None = None
) -> tuple[ClaimReply, dict[str, Any]]:
    """Return the reply to a claim, and the parameters in it."""
    seal, work = key or SealKey(), await world.work(operation_id)
    message = encode(ClaimMessage(claim=claim or world.hands.claim_for(work, seal), principal=work.principal))
    reply = await world.bus.request(subjects.claim(POOL), message, timeout=20)
    answer = decode(reply.data, ClaimReply)
    assert answer.error is None, answer.error
    return answer, decode(seal.open(answer.sealed), SealedParameters).parameters


async def test_policy_decides_and_grants_by_the_digest(world: World) -> None:
    one = await world.executor()
    requested = await written(world)
    key = one.intake._vault.new_keys(requested.operation_id).parameters
    decided, by_digest = asked(world).subject, {"content": text_digest(key, CONTENT)}
    assert (decided.parameters, decided.texts) == ({"file_path": "/srv/f"}, by_digest)
    assert requested.hidden == ["content"]
    assert requested.parameters_digest == parameters_digest(key, EFFECTIVE, ["content"])
    answer, parameters = await claimed(world, requested.operation_id)
    started = world.policy.grants[-1].subject
    assert (started.parameters, started.texts) == ({"file_path": "/srv/f"}, by_digest)
    assert (answer.by_digest, parameters) == (["content"], EFFECTIVE)
    assert answer.grant is not None
    assert read(answer.grant, Grant).parameters_digest == requested.parameters_digest


async def test_repeated_claim_gets_the_same_grant_by_the_digest(world: World) -> None:
    await world.executor()
    number = (await written(world)).operation_id
    key = SealKey()
    claim = world.hands.claim_for(await world.work(number), key)
    first = await claimed(world, number, claim, key)
    again = await claimed(world, number, claim, key)
    assert (again[0].grant, again[0].by_digest, again[1]) == (first[0].grant, ["content"], EFFECTIVE)


async def test_signed_request_is_sent_with_its_text(world: World) -> None:
    await world.executor()
    await written(world, **SIGNED)
    assert asked(world).subject.parameters == PARAMETERS


async def test_policy_gets_the_text_that_it_needs_and_the_next_ones_at_once(world: World) -> None:
    await world.executor()
    world.policy.needs_texts = True
    before = len(world.policy.decides)
    requested = await written(world)
    assert [bool(one.subject.texts) for one in world.policy.decides[before:]] == [True, False]
    await claimed(world, requested.operation_id)
    await written(world)
    assert [bool(one.subject.texts) for one in world.policy.decides[before:]] == [True, False, False]


async def test_start_gets_the_text_that_policy_needs_by_now(world: World) -> None:
    await world.executor()
    requested = await written(world)
    world.policy.needs_texts = True
    answer, _ = await claimed(world, requested.operation_id)
    assert [bool(one.subject.texts) for one in world.policy.grants] == [True, False]
    assert answer.by_digest == []


async def test_decision_on_another_text_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.executor()
    monkeypatch.setattr(scripted_policy, "_digest", lambda subject, effective: "0" * 64)
    answer = await world.ask("file_write", parameters=PARAMETERS)
    assert answer.error is not None
    assert answer.error.code == "mismatched_grant"
