"""Policy gets the digest of a large text in place of the text, where all read a decision on it; else the text."""

import math
from typing import Any

import pytest
from msgspec import Raw
from tests.executor.agent_requests import heartbeat
from tests.executor.conftest import POOL, World
from tests.rules.asking import CATALOGUE

from writ_bus.port import Service
from writ_contracts import subjects
from writ_contracts.agents import DIGESTS_HEADER, DIGESTS_OF_TEXTS, ClaimMessage, ClaimReply, SealedParameters
from writ_contracts.decisions import DecideReply, DecideRequest, Decision, Grant
from writ_contracts.journal import Requested
from writ_contracts.large_texts import LARGE
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed
from writ_contracts.version import TEXT_DIGESTS
from writ_contracts.wire import decode, encode
from writ_executor.service import Executor
from writ_testing.eventually import eventually
from writ_testing.fakes import scripted_policy
from writ_testing.memory.bus import MemoryBus
from writ_trust.digests import keyed_digest, parameters_digest, text_digest
from writ_trust.sealing import SealKey
from writ_trust.statements import read

CONTENT = "x" * LARGE
PARAMETERS = {"file_path": "/srv/f", "content": CONTENT}
EFFECTIVE = CATALOGUE.find("file_write").check(PARAMETERS)


async def settled(world: World, agent: int = TEXT_DIGESTS, policy: int = TEXT_DIGESTS) -> Executor:
    """Return an executor that knows these levels."""
    one = await world.executor()
    world.policy.level = policy
    await heartbeat(world, level=agent, also=("file_write", "service_status"))

    async def heard() -> bool:
        return bool(one.presence.agents(POOL))

    await eventually(heard)
    await one.replicas.look()
    await world.ask("service_status", parameters={"service_name": "nginx"})
    return one


async def written(world: World, **more: Any) -> Requested:
    answer = await world.ask("file_write", parameters=PARAMETERS, **more)
    return (await world.accepted(answer.operation_id)).requested


def asked(world: World) -> DecideRequest:
    question = world.policy.decides[-1]
    assert isinstance(question, DecideRequest)
    return question


async def claimed(
    world: World, operation_id: str, claim: Signed | None = None, key: SealKey | None = None, *, by_digest: bool = True
) -> tuple[ClaimReply, dict[str, Any]]:
    """Return the reply to a claim, and the parameters in it."""
    seal, work = key or SealKey(), await world.work(operation_id)
    message = encode(ClaimMessage(claim=claim or world.hands.claim_for(work, seal), principal=work.principal))
    headers = {DIGESTS_HEADER: DIGESTS_OF_TEXTS} if by_digest else None
    reply = await world.bus.request(subjects.claim(POOL), message, timeout=20, headers=headers)
    answer = decode(reply.data, ClaimReply)
    assert answer.error is None, answer.error
    return answer, decode(seal.open(answer.sealed), SealedParameters).parameters


async def test_policy_decides_and_grants_by_the_digest(world: World) -> None:
    one = await settled(world)
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
    await settled(world)
    number = (await written(world)).operation_id
    key = SealKey()
    claim = world.hands.claim_for(await world.work(number), key)
    first = await claimed(world, number, claim, key)
    again = await claimed(world, number, claim, key)
    assert (again[0].grant, again[0].by_digest, again[1]) == (first[0].grant, ["content"], EFFECTIVE)


async def test_agent_of_the_release_before_gets_a_grant_on_the_whole_text(world: World) -> None:
    """It claims after all agents read the other form."""
    one = await settled(world)
    requested = await written(world)
    answer, _ = await claimed(world, requested.operation_id, by_digest=False)
    assert world.policy.grants[-1].subject.parameters == PARAMETERS
    assert answer.grant is not None
    key = one.intake._vault.new_keys(requested.operation_id).parameters
    assert (answer.by_digest, read(answer.grant, Grant).parameters_digest) == ([], keyed_digest(key, EFFECTIVE))


@pytest.mark.parametrize("levels", [{"agent": TEXT_DIGESTS - 1}, {"policy": TEXT_DIGESTS - 1}], ids=["agent", "policy"])
async def test_release_before_gets_the_text(world: World, levels: dict[str, int]) -> None:
    await settled(world, **levels)
    requested = await written(world)
    assert asked(world).subject.parameters == PARAMETERS
    assert read(requested.decision, Decision).left_out == []
    await claimed(world, requested.operation_id)
    assert world.policy.grants[-1].subject.parameters == PARAMETERS


async def test_one_replica_of_policy_of_the_release_before_is_enough_for_the_text(world: World) -> None:
    await settled(world, policy=TEXT_DIGESTS - 1)
    world.policy.level = TEXT_DIGESTS
    for _ in range(2):
        await written(world)
        assert asked(world).subject.parameters == PARAMETERS


async def test_one_executor_of_the_release_before_is_enough_for_the_text(world: World) -> None:
    one = await settled(world)
    metadata = {"level": str(TEXT_DIGESTS - 1)}
    await MemoryBus(world.broker).serve(
        Service(name="executor", version="0.1.0", description="", endpoints=[], metadata=metadata)
    )
    await one.replicas.look()
    await written(world)
    assert asked(world).subject.parameters == PARAMETERS


async def test_policy_that_has_named_no_level_gets_the_text(world: World) -> None:
    await world.executor()
    await written(world)
    assert asked(world).subject.parameters == PARAMETERS


async def test_signed_request_is_sent_with_its_text(world: World) -> None:
    await settled(world)
    statement = Signed(key="U" * 56, payload=Raw(b"{}"), signature="x")
    await written(world, statement=statement, salt="ab" * 32)
    assert asked(world).subject.parameters == PARAMETERS


async def test_policy_gets_the_text_that_it_needs_and_the_next_ones_at_once(world: World) -> None:
    await settled(world)
    world.policy.needs_texts = True
    before = len(world.policy.decides)
    requested = await written(world)
    assert [bool(one.subject.texts) for one in world.policy.decides[before:]] == [True, False]
    await claimed(world, requested.operation_id)
    await written(world)
    assert [bool(one.subject.texts) for one in world.policy.decides[before:]] == [True, False, False]


async def test_replica_of_policy_that_refuses_digests_gets_the_text_and_is_remembered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor has heard another replica alone, which reads them."""
    one = await settled(world)
    decided, seen = world.policy._decided, list[bool]()

    def former(ask: DecideRequest) -> bytes:
        seen.append(bool(ask.subject.texts))
        if seen[-1]:
            return encode(DecideReply(error=Failure(code="invalid", message="unknown field `texts`")))
        return decided(ask)

    monkeypatch.setattr(world.policy, "_decided", former)
    await written(world)
    assert seen == [True, False]
    one.base.policy._texts_needed = -math.inf  # a minute later
    await written(world)
    assert seen == [True, False, False]


async def test_start_gets_the_text_that_policy_needs_by_now(world: World) -> None:
    await settled(world)
    requested = await written(world)
    world.policy.needs_texts = True
    answer, _ = await claimed(world, requested.operation_id)
    assert [bool(one.subject.texts) for one in world.policy.grants] == [True, False]
    assert answer.by_digest == []


async def test_decision_on_another_text_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await settled(world)
    monkeypatch.setattr(scripted_policy, "_digest", lambda subject, effective: "0" * 64)
    answer = await world.ask("file_write", parameters=PARAMETERS)
    assert answer.error is not None
    assert answer.error.code == "mismatched_grant"
