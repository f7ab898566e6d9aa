"""An agent verifies each field of the approvals in a grant by the directory of people's credentials."""

from typing import Any

import pytest
from msgspec import Raw, structs
from tests.contracts.messages import sample
from tests.trust.test_people import BOB, CAROL, FIRST, SECOND, THIRD, version

from writ_agent.approval_checks import check_approvals
from writ_agent.refusals import SecurityRefusal
from writ_contracts.decisions import Grant
from writ_contracts.journal import Dispatched
from writ_contracts.people.approvals import Approval, SignedApproval
from writ_contracts.people.credentials import Presence
from writ_contracts.wire import canonical
from writ_testing.each_case import each_case
from writ_testing.fakes.security_key import PRESENT, SoftwareSecurityKey
from writ_trust.approvals import approval_digest, sign_approval, signed_bytes, with_evidence
from writ_trust.keys import Key, generate_seed
from writ_trust.people import Directory

OPERATION, DECISION = "a" * 26, "d" * 64
PEOPLE = version(FIRST, SECOND)
WORK: Any = structs.replace(sample(Dispatched), operation_id=OPERATION, decision_digest=DECISION)
NKEY = Key(generate_seed())


def approval(**changed: Any) -> Approval:
    made = Approval(
        operation_id=OPERATION,
        requested="e" * 64,
        decision_digest=DECISION,
        step="one#1",
        verdict="approve",
        approver="bob",
        issued_at=60.0,
        nonce="ab" * 32,
        proof="touch",
    )
    return structs.replace(made, **changed)


def signed(key: SoftwareSecurityKey = BOB, *, flags: int = 5, credential: str = "", **changed: Any) -> SignedApproval:
    made = approval(**changed)
    return with_evidence(made, credential or key.id, key.sign_ssh(signed_bytes(made), flags=flags))


def grant(*approvals: SignedApproval, people: Directory | None = PEOPLE, **changed: Any) -> Any:
    facts = {
        "operation_id": OPERATION,
        "principal": "alice",
        "acts_for": None,
        "person": "alice",
        "people": people.name if people is not None else None,
        "approvals": [approval_digest(one) for one in approvals],
        "proven": [Presence("touch")] * len(approvals),
        "requested_at": 50.0,
    }
    return structs.replace(sample(Grant), **{**facts, **changed})


def refusal(made: Any, *approvals: SignedApproval, people: Directory | None = PEOPLE) -> str:
    with pytest.raises(SecurityRefusal) as refused:
        check_approvals("", WORK, made, approvals, people)
    return str(refused.value)


def test_approvals_by_enrolled_security_keys_hold() -> None:
    both = signed(), signed(CAROL, approver="carol")
    check_approvals("", WORK, grant(*both), both, PEOPLE)


@each_case(
    ("made", "why"),
    [
        (signed(operation_id="b" * 26), "another request"),
        (signed(decision_digest="0" * 64), "another request"),
        (signed(verdict="reject"), "another request"),
        (signed(flags=0), "nobody touched"),
        (signed(THIRD), "not a credential of the approver"),
        (signed(THIRD, credential=BOB.id), "by another key"),
        (structs.replace(signed(), payload=Raw(canonical(approval(nonce="cd" * 32)))), "is not valid"),
        (structs.replace(signed(), evidence=BOB.sign_ssh(signed_bytes(approval()), namespace="git")), "namespace"),
        (structs.replace(signed(), evidence=BOB.sign_ssh(canonical(approval()))), "is not valid"),
        (sign_approval(NKEY, approval(proof="key")), "the proof touch is required"),
    ],
)
def test_an_approval_that_proves_something_else_is_refused(made: SignedApproval, why: str) -> None:
    assert why in refusal(grant(made), made)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"person": "bob"}, "bob may not approve this"),
        ({"principal": "bob", "person": None}, "bob may not approve this"),
        ({"acts_for": "bob"}, "bob may not approve this"),
        ({"proven": [Presence("verified")]}, "verified is required"),
        ({"proven": [Presence("touch", attested=True)]}, "attested"),
        ({"proven": [Presence("touch")] * 2}, "the proof of each approval"),
        ({"requested_at": 10.0}, "not a credential of the approver"),
        ({"requested_at": None}, "not a credential of the approver"),
        ({"approvals": ["0" * 64]}, "differ from those that the grant names"),
    ],
)
def test_grant_that_differs_from_its_approval_is_refused(changed: dict[str, Any], why: str) -> None:
    made = signed(flags=PRESENT)
    assert why in refusal(grant(made, **changed), made)


def test_one_person_counts_once_by_whatever_credential_and_principal() -> None:
    both = signed(), signed(approver="bob-too", nonce="cd" * 32)
    assert "twice" in refusal(grant(*both), *both)


def test_a_directory_that_is_missing_older_or_another_is_refused() -> None:
    made, newer = signed(), version(FIRST, SECOND, number=2)
    assert "none is known" in refusal(grant(made), made, people=None)
    assert "version 1 is known" in refusal(grant(made, people=newer), made)
    assert "two versions 1" in refusal(grant(made, people=version(FIRST)), made)
    assert "need a directory" in refusal(grant(made, people=None), made)
    check_approvals("", WORK, grant(made), [made], newer)


def test_a_credential_that_was_removed_since_is_refused() -> None:
    removed = version(structs.replace(FIRST, removed_at=150.0), SECOND, number=2, at=150.0)
    made = signed()
    assert "not a credential of the approver" in refusal(grant(made), made, people=removed)


def test_in_solo_the_human_of_an_agent_approves_by_a_touch_and_not_their_own_request() -> None:
    solo, made = version(FIRST, posture="solo"), signed()
    request: dict[str, Any] = {"principal": "copilot", "acts_for": "bob", "person": "bob", "people": solo}
    check_approvals("", WORK, grant(made, **request), [made], solo)
    own: dict[str, Any] = {"principal": "bob", "acts_for": None, "person": "bob", "people": solo}
    assert "may not approve this" in refusal(grant(made, **own), made, people=solo)
    by_key = sign_approval(NKEY, approval(proof="key"))
    weak = grant(by_key, **{**request, "proven": [Presence("key")]})
    assert "may not approve this" in refusal(weak, by_key, people=solo)
    team = version(FIRST)
    assert "may not approve this" in refusal(grant(made, **{**request, "people": team}), made, people=team)
