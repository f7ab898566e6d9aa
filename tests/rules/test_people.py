"""Possible approvers are judged by person, and by the abilities of their credentials."""

from typing import Any

import pytest
from tests.rules.asking import ALICE, CATALOGUE, NOBODYS_KEY, NOON, World, at, file_of, policy, rule

from writ_contracts.inventory import Principal
from writ_contracts.people.credentials import KEY, Presence
from writ_rules.analysis.lockout import lockouts
from writ_rules.engine.people import People, people_of
from writ_rules.engine.rules.obligations import ApproverStep, Demand, DemandProgress, progress
from writ_rules.lint.installation_lint import lint_with

TWICE = Principal(id="alice-admin", kind="human", key=NOBODYS_KEY, roles=["approver"], person="alice")
BOB = Principal(id="bob", kind="human", key=NOBODYS_KEY, roles=["approver"])
BOBS = Principal(id="bob-too", kind="human", key=NOBODYS_KEY, roles=["approver"], person="bob")
COPILOT = Principal(id="copilot", kind="agent", key=NOBODYS_KEY, acts_for="alice-admin")
EVERYBODY = [ALICE, TWICE, BOB, BOBS, COPILOT]
TOUCH, VERIFIED = Presence("touch"), Presence("verified")


def progress_of(
    people: People,
    asker: Principal = ALICE,
    *approvals: str,
    quorum: int = 1,
    presence: Presence = KEY,
    proven: dict[str, Presence] | None = None,
) -> DemandProgress:
    demand = Demand("asks", (ApproverStep(("approver",), quorum),), 60, presence)
    return progress(demand, approvals, asker, people, {**dict.fromkeys(approvals, KEY), **(proven or {})})


def test_another_principal_of_the_requesters_person_cannot_approve() -> None:
    people = people_of(EVERYBODY)
    assert progress_of(people).able == {"bob", "bob-too"}
    assert progress_of(people, ALICE, "alice-admin").waits_for is not None
    assert progress_of(people, COPILOT).able == {"bob", "bob-too"}
    alone = people_of([ALICE, TWICE, COPILOT])
    assert (progress_of(alone).able, progress_of(alone).possible) == (frozenset(), False)


def test_two_principals_of_one_person_are_one_of_a_quorum() -> None:
    people = people_of(EVERYBODY)
    assert not progress_of(people, quorum=2).possible
    assert progress_of(people, ALICE, "bob", "bob-too", quorum=2).waits_for is not None


def test_an_approval_counts_by_what_it_proved() -> None:
    people = people_of(EVERYBODY, {"bob": (VERIFIED,)})
    assert progress_of(people, ALICE, "bob", presence=TOUCH).waits_for is not None
    assert progress_of(people, ALICE, "bob", presence=TOUCH, proven={"bob": TOUCH}).waits_for is None
    assert progress_of(people, ALICE, "bob", presence=VERIFIED, proven={"bob": TOUCH}).waits_for is not None
    vouched = Presence("touch", attested=True)
    assert progress_of(people, ALICE, "bob", presence=vouched, proven={"bob": VERIFIED}).able == frozenset()


@pytest.mark.parametrize(
    ("presences", "possible"), [({}, False), ({"bob": (TOUCH,)}, False), ({"bob": (VERIFIED,)}, True), (None, True)]
)
def test_a_person_without_a_credential_for_the_proof_is_no_possible_approver(presences: Any, possible: bool) -> None:
    assert progress_of(people_of(EVERYBODY, presences), presence=VERIFIED).possible is possible


def test_in_solo_a_human_approves_by_a_touch_what_an_ai_agent_requests_and_nothing_else() -> None:
    people = people_of([ALICE, TWICE, COPILOT], {"alice": (TOUCH,)}, solo=True)
    assert progress_of(people, COPILOT).able == {"alice-admin"}
    assert progress_of(people, COPILOT, "alice-admin").waits_for is not None  # by a key alone
    assert progress_of(people, COPILOT, "alice-admin", proven={"alice-admin": TOUCH}).waits_for is None
    assert progress_of(people, ALICE, "alice-admin", proven={"alice-admin": TOUCH}).waits_for is not None
    assert progress_of(people_of([ALICE, TWICE, COPILOT], {}, solo=True), COPILOT).able == frozenset()


def found(presences: Any) -> list[str]:
    rules = [rule("asks", "service_restart", approval={"proof": "verified"})]
    people = people_of(EVERYBODY, presences)
    return [
        one.message for one in lint_with(file_of(global_policies=rules), CATALOGUE, principals=EVERYBODY, people=people)
    ]


def test_lint_finds_a_demand_whose_proof_nobody_has_enrolled() -> None:
    lacking = [one for one in found({"bob": (TOUCH,)}) if "nobody can give this approval" in one]
    why = "nobody of role approver has a credential that proves verified: `writ credential enrol`"
    assert lacking == [f"nobody can give this approval: {why}"]
    assert not any("nobody of role" in one for one in found({"bob": (VERIFIED,)}))


def test_a_policy_whose_proof_nobody_has_enrolled_locks_its_people_out() -> None:
    governing = ("policy_publish", "policy_rollback", "stop_lift", "journal_archive")
    demanding = policy(global_policies=[rule("governs", *governing, approval={"proof": "touch"})])
    without, enrolled = people_of(EVERYBODY, {}), people_of(EVERYBODY, {"bob": (TOUCH,)})
    assert len(lockouts(demanding, EVERYBODY, at(NOON), without)) == len(governing)
    assert lockouts(demanding, EVERYBODY, at(NOON), enrolled) == []


def test_an_operation_that_two_principals_of_one_person_cannot_approve_names_nobody() -> None:
    rules = [rule("asks", "service_restart", approval={"quorum": 2})]
    ruling = World(policy(global_policies=rules), people=people_of(EVERYBODY)).ask()
    assert (ruling.effect, ruling.could_approve) == ("require_approval", [])
    assert "nobody could approve it" in ruling.reason


def test_lint_finds_a_proof_for_emergencies_that_nobody_has_enrolled() -> None:
    file = file_of(emergencies={"proof": "verified"})

    def warned(presences: Any) -> list[str]:
        people = people_of(EVERYBODY, presences)
        found = lint_with(file, CATALOGUE, principals=EVERYBODY, people=people)
        return [one.message for one in found if "emergency" in one.message]

    assert warned({"bob": (TOUCH,)}) == ["nobody has a credential that proves verified: no emergency can be declared"]
    assert warned({"bob": (VERIFIED,)}) == []
    assert warned(None) == []


MANAGES = rule("manages", "principal_manage")
ONE_OF_TEAM, TWO_OF_TEAM = {"alice": (TOUCH,)}, {"alice": (TOUCH,), "bob": (TOUCH,)}


@pytest.mark.parametrize(
    ("presences", "solo", "effect"),
    [
        (None, False, "allow"),
        (ONE_OF_TEAM, False, "allow"),
        (ONE_OF_TEAM, True, "allow"),
        (TWO_OF_TEAM, False, "require_approval"),
    ],
    ids=["no directory", "one person so far", "solo", "team"],
)
def test_principal_manage_needs_an_approval_in_a_team_whatever_the_rules_say(
    presences: Any, solo: bool, effect: str
) -> None:
    lenient = policy(global_policies=[MANAGES], require_approval_for_admin=False)
    world = World(lenient, people=people_of(EVERYBODY, presences, solo=solo))
    assert world.ask("principal_manage", action="disable", principal_id="bob").effect == effect
