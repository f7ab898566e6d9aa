"""The check of an archive verifies the approvers' signatures on exactly the request that started."""

import hashlib
from typing import Any

import pytest
from msgspec import Raw, structs
from tests.contracts.messages import sample
from tests.proof.archives import AGENT, MALLORY, POLICY, id_of, requested_as
from tests.trust.test_people import BOB as TOKEN
from tests.trust.test_people import CAROL, FIRST, SECOND, version

from writ_contracts import journal, subjects
from writ_contracts.agents import Claim
from writ_contracts.decisions import Decision, Grant
from writ_contracts.history.records import Record
from writ_contracts.people.approvals import Approval, DecisionDemand, DecisionStep, SignedApproval
from writ_contracts.people.credentials import TOUCH, Presence, PresenceEvidence, Proof
from writ_contracts.requests import RequestStatement
from writ_contracts.wire import encode
from writ_proof.archive.signatures import Signatures
from writ_testing.fakes.security_key import PRESENT, SoftwareSecurityKey
from writ_trust.approvals import approval_digest, read_approval, sign_approval, signed_bytes, with_evidence
from writ_trust.keys import Key, generate_seed
from writ_trust.people import Directory
from writ_trust.requester_presence import signed_bytes as bytes_of_presence
from writ_trust.statements import digest, sign

BOB = Key(generate_seed())
OF: dict[str, Any] = {"operation_id": id_of(1), "id": "1", "correlation_id": "c"}


def approval_of(event: journal.Requested, *, by: Key = BOB, **changed: Any) -> SignedApproval:
    approval = Approval(
        operation_id=event.operation_id,
        requested=hashlib.sha256(encode(event)).hexdigest(),
        decision_digest=digest(event.decision),
        step="one#1",
        verdict="approve",
        approver="bob",
        issued_at=1.0,
        nonce="ab" * 32,
    )
    return sign_approval(by, structs.replace(approval, **changed))


def events(*, approvals: list[Any] | None = None, proof: Proof = "key", **changed: Any) -> list[Any]:
    """Return an operation approved by bob, and its start."""
    steps = [DecisionStep(roles=["approver"], people=["bob"])]
    facts: dict[str, Any] = {"operation_id": id_of(1), "principal": "alice", "authenticated": "server"}
    facts |= {
        "effect": "require_approval",
        "acts_for": None,
        "presence": None,
        "demands": [DecisionDemand(rule="one", steps=steps, seconds=60, proof=proof)],
    }
    decided = sign(POLICY, structs.replace(sample(Decision), **facts))
    first = {
        "principal": "alice",
        "decision": decided,
        "statement": None,
        "look": None,
        "ahead": None,
        **requested_as(decided),
    }
    requested: Any = structs.replace(sample(journal.Requested), **OF, **first, dry_run=False)
    supplied = [approval_of(requested, **changed)] if approvals is None else approvals
    claim = sign(AGENT, structs.replace(sample(Claim), operation_id=id_of(1)))
    again = sign(POLICY, structs.replace(sample(Decision), **{**facts, "effect": "allow"}))
    links = {"operation_id": id_of(1), "claim_digest": digest(claim), "decision_digest": digest(again)}
    grant = sign(POLICY, structs.replace(sample(Grant), **links, approvals=[approval_digest(one) for one in supplied]))
    return [
        requested,
        journal.Approved(**OF, at=1.0, approvals=supplied, approver="bob"),
        structs.replace(sample(journal.Granted), **OF, claim=claim, grant=grant, decision=again),
    ]


def problems(found: list[Any], people: Directory | None = None, time: float = 50.0) -> list[str]:
    signatures = Signatures([POLICY.public], people)
    for at, event in enumerate(found, 1):
        subject = subjects.operation_event("alice", id_of(1), str(event.__struct_config__.tag))
        signatures.take(Record(sequence=at, subject=subject, data=encode(event), time=time, headers={}))
    return [one.what for one in signatures.problems]


def test_an_approved_operation_holds() -> None:
    assert problems(events()) == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"operation_id": id_of(2)}, "of another operation"),
        ({"requested": "0" * 64}, "of another request"),
        ({"decision_digest": "0" * 64}, "of another request"),
        ({"verdict": "reject"}, "of another operation or verdict"),
        ({"approver": "alice"}, "requested it"),
    ],
)
def test_an_approval_of_something_else_shows(changed: dict[str, Any], what: str) -> None:
    assert any(what in one for one in problems(events(**changed)))


def test_a_changed_approval_shows() -> None:
    good = events()[1].approvals[0]
    forged = structs.replace(good, payload=Raw(bytes(good.payload).replace(b'"bob"', b'"eve"')))
    assert "is not valid" in problems(events(approvals=[forged]))[0]
    borrowed = structs.replace(good, credential=MALLORY.public)
    assert "is not valid" in problems(events(approvals=[borrowed]))[0]


def test_a_start_without_the_approvals_or_by_others_shows() -> None:
    requested, approved, granted = events()
    assert problems([requested, granted]) == ["it started without the approvals that its decision demands"]
    other = structs.replace(approved, approvals=[approval_of(requested, nonce="cd" * 32)])
    assert problems([requested, other, granted]) == ["its grant names approvals that are not on record"]


def test_a_rejection_is_checked_as_an_approval_is() -> None:
    requested = events()[0]
    rejection = approval_of(requested, verdict="reject")
    good = journal.Rejected(**OF, at=1.0, approver="bob", approval=rejection)
    assert problems([requested, good]) == []
    assert problems([requested, structs.replace(good, approver="carol")]) == ["its approval is of another person"]


def touched(key: SoftwareSecurityKey = TOKEN, *, flags: int = PRESENT, credential: str = "") -> list[Any]:
    """The same, with a demand for a touch, by this security key."""
    made = read_approval(approval_of(events(proof="touch")[0], proof="touch"))
    evidence = key.sign_ssh(signed_bytes(made), flags=flags)
    return events(proof="touch", approvals=[with_evidence(made, credential or key.id, evidence)])


def test_an_approval_by_a_security_key_is_verified_by_the_directory() -> None:
    people = version(FIRST, SECOND)
    assert problems(touched(), people) == []
    assert "the directory of people's credentials is not here" in problems(touched())[0]
    assert "not a credential of the approver" in problems(touched(), people, time=5.0)[0]  # enrolled later
    assert "nobody touched" in problems(touched(flags=0), people)[0]
    assert "by another key" in problems(touched(CAROL, credential=TOKEN.id), people)[0]


def test_a_credential_that_was_removed_later_still_verifies_what_it_approved_before() -> None:
    removed = version(structs.replace(FIRST, removed_at=150.0), SECOND, number=2, at=150.0)
    assert problems(touched(), removed) == []
    assert "not a credential of the approver" in problems(touched(), removed, time=300.0)[0]


def test_a_start_with_less_proof_than_was_demanded_shows() -> None:
    weak = problems(events(proof="touch"), version(FIRST))
    assert weak[0] == "'one' demands more persons, or the proof touch"


def declared(
    *, presence: Presence | None = TOUCH, by: SoftwareSecurityKey = TOKEN, presented: bool = True
) -> list[Any]:
    """Return a request of bob; its decision names his proof."""
    statement = sign(BOB, structs.replace(sample(RequestStatement), principal="bob"))
    evidence = PresenceEvidence(credential=TOKEN.id, evidence=by.sign_ssh(bytes_of_presence(statement), flags=PRESENT))
    facts: dict[str, Any] = {"operation_id": id_of(1), "principal": "bob", "effect": "allow", "presence": presence}
    decided = structs.replace(sample(Decision), **facts, authenticated="signature", statement_digest=digest(statement))
    signed = sign(POLICY, decided)
    first = {"principal": "bob", "decision": signed, "statement": statement, "look": None, "ahead": None}
    first |= {**requested_as(signed), "presence": evidence if presented else None}
    return [structs.replace(sample(journal.Requested), **OF, **first, dry_run=False)]


def test_a_requesters_proof_of_presence_is_verified_where_the_decision_names_it() -> None:
    people = version(FIRST, SECOND)
    assert problems(declared(), people) == []
    assert "that is missing" in problems(declared(presented=False), people)[0]
    assert "the directory of people's credentials is not here" in problems(declared())[0]
    assert "by another key" in problems(declared(by=CAROL), people)[0]
    assert "proved less" in problems(declared(presence=Presence("verified")), people)[0]
    assert problems(declared(presence=None, presented=False), people) == []
