"""A grant with one invalid field: nothing runs, the refusal is reported, and the operation ends."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw, structs
from tests.agent.conftest import POOL, TARGET, World

from writ_contracts.agents import Claim, ClaimReply
from writ_contracts.decisions import Grant
from writ_contracts.inventory import Target
from writ_contracts.signing import Signed
from writ_contracts.wire import canonical
from writ_testing.fakes.scripted_executor import DispatchedOperation
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import digest, sign

Tamper = Callable[[World, DispatchedOperation, Claim, Grant], ClaimReply]
ELSEWHERE = Target(id="host-2", role="testing", backend="fake", agent=POOL)
OTHER_POOL = Target(id="host-1", role="testing", backend="fake", agent="pool-2")


def changed(**fields: Any) -> Tamper:
    """Return a grant by policy for another request."""

    def tamper(world: World, dispatched: DispatchedOperation, claim: Claim, grant: Grant) -> ClaimReply:
        return world.executor.sealed(dispatched, claim, sign(world.executor.key, structs.replace(grant, **fields)))

    return tamper


def other_key(world: World, dispatched: DispatchedOperation, claim: Claim, grant: Grant) -> ClaimReply:
    return world.executor.sealed(dispatched, claim, sign(Key(generate_seed()), grant))


def claimed_key(world: World, dispatched: DispatchedOperation, claim: Claim, grant: Grant) -> ClaimReply:
    """Signed by another key, under the name of policy's."""
    forged = structs.replace(sign(Key(generate_seed()), grant), key=world.executor.key.public)
    return world.executor.sealed(dispatched, claim, forged)


def altered(world: World, dispatched: DispatchedOperation, claim: Claim, grant: Grant) -> ClaimReply:
    """Return a grant with one value changed after the signature."""
    honest = sign(world.executor.key, grant)
    payload = Raw(bytes(honest.payload).replace(b'"timeout":', b'"timeout":1'))
    return world.executor.sealed(dispatched, claim, structs.replace(honest, payload=payload))


def another_kind(world: World, dispatched: DispatchedOperation, claim: Claim, grant: Grant) -> ClaimReply:
    """Return a statement by policy of another kind."""
    look = world.executor.read_grant(
        dispatched.work.operation_id, dispatched.work.operation, TARGET, ["baseline"], {}, "00" * 32
    )
    return world.executor.sealed(dispatched, claim, look)


def other_parameters(world: World, dispatched: DispatchedOperation, claim: Claim, grant: Grant) -> ClaimReply:
    swapped = {**dispatched.parameters, "path": "/etc/passwd"}
    return world.executor.sealed(dispatched, claim, sign(world.executor.key, grant), swapped)


def sealed_for_another(world: World, dispatched: DispatchedOperation, claim: Claim, grant: Grant) -> ClaimReply:
    answer = world.executor.sealed(dispatched, claim, sign(world.executor.key, grant))
    return ClaimReply(grant=answer.grant, sealed=answer.sealed[:-8] + bytes(8))


def empty(world: World, dispatched: DispatchedOperation, claim: Claim, grant: Grant) -> ClaimReply:
    return ClaimReply()


CASES: dict[str, tuple[Tamper, str]] = {
    "signed by another key": (other_key, "forged_grant"),
    "signed by another key under policy's name": (claimed_key, "forged_grant"),
    "altered after it was signed": (altered, "forged_grant"),
    "no grant at all but a look": (another_kind, "forged_grant"),
    "an answer with neither grant nor error": (empty, "forged_grant"),
    "expired before it came": (changed(lifetime=0.0), "expired_grant"),
    "for other parameters": (other_parameters, "mismatched_grant"),
    "with parameters that cannot be unsealed": (sealed_for_another, "mismatched_grant"),
    "for another target": (changed(target=ELSEWHERE), "mismatched_grant"),
    "for a target of another pool": (changed(target=OTHER_POOL), "mismatched_grant"),
    "for another pool": (changed(pool="pool-2"), "mismatched_grant"),
    "for another instance": (changed(instance="somebody-else"), "mismatched_grant"),
    "for another operation": (changed(operation="test_secret"), "mismatched_grant"),
    "for another operation id": (changed(operation_id="a" * 26), "mismatched_grant"),
    "for another principal": (changed(principal="mallory"), "mismatched_grant"),
    "for another claim": (changed(claim_digest="0" * 64), "mismatched_grant"),
    "for another nonce": (changed(nonce="0" * 64), "mismatched_grant"),
}


@pytest.mark.parametrize(("tamper", "kind"), CASES.values(), ids=CASES.keys())
async def test_agent_refuses_a_falsified_grant(tamper: Tamper, kind: str, world: World) -> None:
    async def lie(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        return tamper(world, dispatched, claim, world.executor.honest_grant(dispatched, claim, signed))

    world.executor.answering = lie
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    receipt = await world.executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect, receipt.code) == ("failed", "none", "grant_refused")
    assert world.backend.tasks == []
    await world.executor.until(lambda: len(world.executor.reports) == 1)
    report = world.executor.reports[0]
    assert (report.kind, report.operation_id, report.pool) == (kind, operation_id, POOL)
    assert "/etc/passwd" not in canonical(report).decode()


async def test_a_grant_that_was_used_is_refused_when_it_comes_again(world: World) -> None:
    await world.agent()
    first = await world.executor.dispatch("test_count", TARGET, path="/x")
    await world.executor.ended(first)
    used = world.executor.operations[first].answer
    assert used is not None

    async def replay(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        return used

    world.executor.answering = replay
    second = await world.executor.dispatch("test_count", TARGET, path="/x")
    receipt = await world.executor.ended(second)
    assert (receipt.outcome, receipt.code) == ("failed", "grant_refused")
    await world.executor.until(lambda: [report.kind for report in world.executor.reports] == ["replayed_grant"])
    assert world.backend.effects == [first]


async def test_a_second_grant_for_the_same_attempt_is_never_used(world: World) -> None:
    await world.agent()
    operation_id = await world.executor.dispatch("test_count", TARGET, path="/x")
    await world.executor.ended(operation_id)
    world.executor.operations[operation_id].claims.clear()
    world.executor.operations[operation_id].answer = None
    await world.executor.append(world.executor.operations[operation_id].work)
    other = await world.executor.dispatch("test_noop", TARGET)
    await world.executor.ended(other)
    assert world.backend.effects == [operation_id]


async def test_granted_operation_outside_the_agents_catalogue_is_not_run(world: World) -> None:
    async def grant(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        dispatched.parameters = {**dispatched.parameters, "path": ""}
        return await world.executor.grant(dispatched, claim, signed)

    world.executor.answering = grant
    await world.agent()
    receipt = await world.executor.ended(await world.executor.dispatch("test_count", TARGET, path="/x"))
    assert (receipt.outcome, receipt.effect, receipt.code) == ("failed", "none", "invalid_parameters")
    assert world.backend.tasks == []


async def test_operation_that_the_backend_lacks_is_unsupported(world: World) -> None:
    await world.agent()
    receipt = await world.executor.ended(await world.executor.dispatch("service_status", TARGET, service_name="nginx"))
    assert (receipt.outcome, receipt.effect, receipt.code) == ("failed", "none", "unsupported")


async def test_the_receipt_names_the_grant_that_was_refused(world: World) -> None:
    refused: list[Signed] = []

    async def lie(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        refused.append(sign(Key(generate_seed()), world.executor.honest_grant(dispatched, claim, signed)))
        return world.executor.sealed(dispatched, claim, refused[0])

    world.executor.answering = lie
    await world.agent()
    receipt = await world.executor.ended(await world.executor.dispatch("test_count", TARGET, path="/x"))
    assert receipt.grant_digest == digest(refused[0])
