"""A claim that is sent again, since its reply was lost, gets the same grant with the same parameters."""

from typing import Any

import pytest
from msgspec import structs
from tests.executor.conftest import World

from writ_contracts.decisions import DecideReply, DecideRequest, Subject
from writ_contracts.wire import decode, encode
from writ_testing.fakes.scripted_agent import ClaimOutcome
from writ_trust.sealing import SealKey

CONTENT = {"file_path": "/srv/app/x", "content": "secret"}
DIGEST = "a" * 64


def fill_in(world: World, monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    """Let rules of the policy fill in values where the requester has none."""
    effective = world.policy._effective

    def filled(subject: Subject) -> dict[str, Any]:
        return {**effective(subject), **values}

    monkeypatch.setattr(world.policy, "_effective", filled)


async def claimed(world: World) -> tuple[ClaimOutcome, SealKey]:
    answer = await world.ask("file_write", parameters=CONTENT)
    work = await world.work(answer.operation_id or "")
    key = SealKey()
    return await world.hands.send_claim(world.hands.claim_for(work, key), "alice", key), key


@pytest.mark.parametrize("values", [{}, {"mode": "0600"}, {"if_digest": DIGEST}], ids=["none", "public", "hidden"])
async def test_repeated_claim_gets_what_a_rule_filled_in(
    world: World, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    fill_in(world, monkeypatch, **values)
    await world.executor()
    first, key = await claimed(world)
    assert first.parameters.items() >= {**CONTENT, **values}.items()
    again = await world.hands.send_claim(first.claim, "alice", key)
    assert (again.answer.grant, again.parameters) == (first.answer.grant, first.parameters)


async def test_repeated_claim_gets_no_other_value_than_the_granted_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_in(world, monkeypatch, if_digest=DIGEST)
    await world.executor()
    first, key = await claimed(world)
    fill_in(world, monkeypatch, if_digest="b" * 64)
    again = await world.hands.send_claim(first.claim, "alice", key)
    assert again.answer.grant is None
    assert again.answer.error is not None
    assert again.answer.error.code == "gone"


@pytest.mark.parametrize(("answered", "repeated"), [(DIGEST, True), ("b" * 64, False)])
async def test_repeated_claim_gets_the_granted_parameters_and_no_others_where_policy_denies_by_now(
    world: World, monkeypatch: pytest.MonkeyPatch, answered: str, repeated: bool
) -> None:
    """Policy leaves unchanged parameters out of its reply on large ones, and nothing checks the reply of a denial."""
    fill_in(world, monkeypatch, if_digest=DIGEST)
    await world.executor()
    first, key = await claimed(world)
    world.policy.effects["file_write"] = "deny"
    decided = world.policy._decided

    def shorter(ask: DecideRequest) -> bytes:
        reply, sent = decode(decided(ask), DecideReply), ask.subject.parameters
        added = {name: value for name, value in reply.effective.items() if name not in sent}
        return encode(structs.replace(reply, effective={**added, "if_digest": answered}))

    monkeypatch.setattr(world.policy, "_decided", shorter)
    again = await world.hands.send_claim(first.claim, "alice", key)
    if repeated:
        assert (again.answer.grant, again.parameters) == (first.answer.grant, first.parameters)
    else:
        assert again.answer.grant is None
        assert again.answer.error is not None
        assert again.answer.error.code == "gone"
