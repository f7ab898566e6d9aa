"""A claim that is sent again, since its reply was lost, gets the same grant with the same parameters."""

from typing import Any

import pytest
from tests.executor.conftest import World

from writ_contracts.decisions import Subject
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
