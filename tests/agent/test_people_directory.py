"""An agent accepts a directory of credentials only if a grant for its own claim, signed by policy, names it."""

from pathlib import Path

import msgspec
import pytest
from msgspec import structs
from tests.agent.conftest import TARGET, World
from tests.agent.test_refusals import Tamper, changed, other_key
from tests.trust.test_people import FIRST, OTHER, PEOPLE_KEY, version

from writ_contracts.agents import Claim, ClaimReply
from writ_contracts.people.directory import PeopleDirectory, PeopleKeySuccession
from writ_contracts.signing import Signed
from writ_testing.fakes.scripted_executor import DispatchedOperation
from writ_trust.people import open_directory
from writ_trust.statements import sign

TRUE = version(FIRST)
LINK = sign(PEOPLE_KEY, PeopleKeySuccession(next=OTHER.public, at=100.0))
FORK = open_directory(
    sign(OTHER, PeopleDirectory(number=900_000_000, at=100.0, posture="team", successions=[LINK])),
    [PEOPLE_KEY.public],
    "",
)
"""By a thief of the former people-key, who names a successor."""


async def _taken(world: World, tamper: Tamper) -> tuple[Signed | None, str]:
    """Return the agent's directory after an answer with FORK, and the outcome."""

    async def grant_claim(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        made = tamper(world, dispatched, claim, world.executor.honest_grant(dispatched, claim, signed))
        return structs.replace(made, people=FORK.signed)

    world.executor.answering = grant_claim
    await world.agent(people_keys=[PEOPLE_KEY.public])
    receipt = await world.executor.ended(await world.executor.dispatch("test_count", TARGET, path="/x"))
    kept: Path = world.folder / "people-state.json"
    return msgspec.json.decode(kept.read_bytes(), type=Signed) if kept.exists() else None, receipt.outcome


@pytest.mark.parametrize(
    ("tamper", "outcome"),
    [
        pytest.param(other_key, "failed", id="forged"),
        pytest.param(changed(claim_digest="0" * 64, people=FORK.name), "failed", id="for another claim"),
        pytest.param(changed(), "succeeded", id="names none"),
        pytest.param(changed(people=TRUE.name), "succeeded", id="names another"),
    ],
)
async def test_a_directory_beside_a_grant_is_not_taken(tamper: Tamper, outcome: str, world: World) -> None:
    assert await _taken(world, tamper) == (None, outcome)


async def test_a_directory_that_the_grant_names_is_taken(world: World) -> None:
    assert await _taken(world, changed(people=FORK.name)) == (FORK.signed, "succeeded")
