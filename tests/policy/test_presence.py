"""Proofs of presence at policy, of approvers and declarers of an emergency, with each mutation."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw, structs
from tests.policy.approving import Pending, know, pending
from tests.policy.replica import Asking, files, replica
from tests.trust.test_people import BOB, CAROL, FIRST, PEOPLE_KEY, SECOND, THIRD, enrolment, entry, version

from writ_contracts import subjects
from writ_contracts.decisions import Decision, Grant, Subject
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.people.credentials import Presence, PresenceEvidence
from writ_contracts.wire import canonical, encode
from writ_runtime.journal.security_events import security_event
from writ_testing.eventually import eventually
from writ_testing.fakes.security_key import PRESENT, VERIFIED, SoftwareSecurityKey
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.approvals import signed_bytes, with_evidence
from writ_trust.keys import Key, generate_seed
from writ_trust.people import Directory
from writ_trust.requester_presence import signed_bytes as bytes_of_presence
from writ_trust.statements import open_signed, read

TOUCHED = {
    "name": "restarts",
    "operations": ["service_restart"],
    "allowed": True,
    "approval": {"proof": "touch"},
}
URGENT = {"name": "urgent", "operations": ["emergency_declare", "emergency_confirm"], "allowed": True}


def publish(asking: Asking, directory: Directory) -> None:
    draft = asking.files.folder / ".people"
    draft.write_bytes(encode(directory.signed))
    draft.replace(asking.files.folder / "people.json")


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    """Bob and carol have credentials."""
    broker, known = Broker(), files(tmp_path)
    (tmp_path / "people.json").write_bytes(encode(version(FIRST, SECOND).signed))
    people = {"people": tmp_path / "people.json", "people_key": PEOPLE_KEY.public}
    async with replica(MemoryBus(broker), MemoryBus(broker), known, **people) as one:
        know(one, "carol")
        yield one


def signed(one: Pending, key: SoftwareSecurityKey = BOB, *, flags: int = PRESENT, **changed: Any) -> SignedApproval:
    approval = one.approval(**{"proof": "touch", **changed})
    return with_evidence(approval, key.id, key.sign_ssh(signed_bytes(approval), flags=flags))


async def code(one: Pending, approval: SignedApproval, who: str = "bob") -> str:
    answer = await one.send(approval, who)
    return answer.error.code if answer.error is not None else answer.state


async def test_person_whose_credentials_are_left_is_not_added_again(asking: Asking) -> None:
    """Carol's would count for whoever is added under her name. A second principal of bob's is his own."""
    know(asking)
    asking.files.policy({"name": "manage", "operations": ["principal_manage"], "allowed": True})

    async def code_of(name: str, **values: Any) -> str:
        change = {"action": "add", "principal_id": name, "key": Key(generate_seed()).public, "kind": "human", **values}
        answer = await asking.decide(asking.signed(asking.subject("principal_manage", "writ", parameters=change)))
        if answer.decision is None:
            assert answer.error is not None
            return answer.error.code
        return read(answer.decision, Decision).code

    assert await code_of("carol") == "conflict"
    assert await code_of("carol", kind="service") == "approval_required"
    assert await code_of("bob-2", person="bob") == "approval_required"
    assert await code_of("dave") == "approval_required"
    publish(asking, version(FIRST, structs.replace(SECOND, removed_at=asking.clock.now), number=2))
    assert await code_of("carol") == "allowed"


async def test_an_approval_with_the_demanded_proof_starts_it_and_is_in_the_grant(
    asking: Asking,
) -> None:
    one = await pending(asking, TOUCHED)
    assert read(one.signed, Decision).demands[0].proof == "touch"
    assert read(one.signed, Decision).demands[0].steps[0].people == ["bob", "carol"]
    assert await code(one, signed(one)) == "approved"
    await one.dispatched()
    answer = await asking.granted_as_recorded(one.subject)
    assert answer.grant is not None
    grant = open_signed(answer.grant, Grant, [asking.files.keys["policy"].public], "")
    assert (grant.proven, grant.person) == ([Presence("touch")], "alice")
    assert grant.people == version(FIRST, SECOND).name


async def test_weaker_or_other_proof_is_refused(asking: Asking) -> None:
    one, other = await pending(asking, TOUCHED), await pending(asking, TOUCHED)
    by_key = await one.decide()
    assert by_key.error is not None
    assert by_key.error.code == "proof_too_weak"
    good = signed(one)
    for refused in (
        signed(one, flags=0),
        signed(one, flags=VERIFIED),
        signed(one, CAROL),
        signed(one, THIRD),
        with_evidence(one.approval(proof="touch"), BOB.id, THIRD.sign_ssh(signed_bytes(one.approval(proof="touch")))),
        structs.replace(good, payload=Raw(canonical(one.approval(proof="touch", nonce="cd" * 32)))),
        structs.replace(good, evidence=BOB.sign_ssh(canonical(one.approval(proof="touch")))),
        structs.replace(good, evidence=BOB.sign_ssh(bytes(good.payload), namespace="file")),
        signed(one, operation_id=other.subject.operation_id),
        signed(one, requested="0" * 64),
        signed(one, decision_digest="0" * 64),
        signed(one, proof="verified"),
    ):
        assert await code(one, refused) in ("bad_approval", "proof_too_weak"), refused
    assert await code(one, signed(one, issued_at=asking.clock.now - 301)) == "stale_statement"
    assert await code(one, signed(one, CAROL, approver="carol")) == "bad_approval"  # sent by bob
    assert await one.kinds() == ["requested", "awaiting_approval"]
    assert await code(one, good) == "approved"
    assert await code(other, good) == "approved"  # a replay: it names the first operation, and is answered for that
    assert await other.kinds() == ["requested", "awaiting_approval"]


async def test_later_or_removed_credential_does_not_count_for_a_request(asking: Asking) -> None:
    one = await pending(asking, TOUCHED)
    now = asking.clock.now
    late = entry(enrolment("bob", THIRD, by=CAROL), now + 1)
    publish(asking, version(FIRST, SECOND, late, number=2, at=now + 1))
    assert await code(one, signed(one, THIRD)) == "bad_approval"
    assert await code(one, signed(one)) == "approved"
    await one.dispatched()
    removed = structs.replace(FIRST, removed_at=now + 2)
    publish(asking, version(removed, SECOND, late, number=3, at=now + 2))
    assert await one.start() == ("deny", "stale")


async def test_an_older_directory_and_one_of_another_key_change_nothing(asking: Asking) -> None:
    removed = structs.replace(FIRST, removed_at=150.0)
    publish(asking, version(removed, SECOND, number=2, at=150.0))
    one = await pending(asking, TOUCHED)
    assert read(one.signed, Decision).demands[0].steps[0].people == ["carol"]
    publish(asking, version(FIRST, SECOND))
    assert await code(one, signed(one)) == "bad_approval"
    (asking.files.folder / "people.json").unlink()
    assert await code(one, signed(one)) == "bad_approval"
    assert await code(one, signed(one, CAROL, approver="carol"), "carol") == "approved"


async def test_operation_is_stale_after_the_policy_demands_more_proof(asking: Asking) -> None:
    one = await pending(asking, TOUCHED)
    assert await code(one, signed(one)) == "approved"
    await one.dispatched()
    asking.files.policy({**TOUCHED, "approval": {"proof": "verified"}})
    assert await one.start() == ("deny", "stale")


def proven(asking: Asking, subject: Subject, key: SoftwareSecurityKey, *, flags: int = PRESENT) -> Subject:
    made = asking.signed(subject)
    assert made.statement is not None
    evidence = key.sign_ssh(bytes_of_presence(made.statement), flags=flags)
    return structs.replace(made, presence=PresenceEvidence(credential=key.id, evidence=evidence))


async def verdict(asking: Asking, subject: Subject) -> str:
    decided = await asking.decide(subject)
    return decided.error.code if decided.error is not None else read(decided.decision, Decision).code  # type: ignore[arg-type]


async def test_emergency_needs_a_proof_of_the_person_who_declares_it(asking: Asking) -> None:
    asking.files.policy(URGENT, emergencies={"proof": "touch"})
    facts = {"scope": ["*"], "reason": "it burns", "until": asking.clock.now + 600}

    def declared(who: str = "bob") -> Subject:
        return asking.subject("emergency_declare", "writ", principal=who, parameters=facts)

    assert await verdict(asking, asking.signed(declared())) == "proof_too_weak"
    assert await verdict(asking, proven(asking, declared(), BOB, flags=0)) == "bad_signature"
    assert await verdict(asking, proven(asking, declared(), CAROL)) == "bad_signature"
    assert await verdict(asking, proven(asking, declared("alice"), BOB)) == "bad_signature"
    good = proven(asking, declared(), BOB)
    assert await verdict(asking, structs.replace(asking.signed(declared()), presence=good.presence)) == "bad_signature"
    assert await verdict(asking, structs.replace(good, statement=None)) == "bad_signature"
    decided = await asking.decide(good)
    assert decided.decision is not None
    decision = read(decided.decision, Decision)
    assert (decision.effect, decision.presence) == ("allow", Presence("touch"))
    simulated = structs.replace(declared(), simulate=True)
    assert await verdict(asking, simulated) == "allowed"


async def test_a_policy_without_a_proof_takes_emergencies_by_a_signature(asking: Asking) -> None:
    asking.files.policy(URGENT)
    facts = {"scope": ["*"], "reason": "it burns", "until": asking.clock.now + 600}
    subject = asking.subject("emergency_declare", "writ", parameters=facts)
    assert await verdict(asking, asking.signed(subject)) == "allowed"


async def test_a_counter_that_does_not_rise_is_a_security_event_and_the_approval_counts(asking: Asking) -> None:
    def by(one: Pending, counter: int) -> SignedApproval:
        approval = one.approval(proof="touch")
        return with_evidence(approval, BOB.id, BOB.sign_ssh(signed_bytes(approval), flags=PRESENT, counter=counter))

    for counter in (7, 9, 9, 2, 0, 0):
        one = await pending(asking, TOUCHED)
        assert await code(one, by(one, counter)) == "approved"

    async def recorded() -> bool:
        records = await asking.bus.journal.read(subjects.security_event("credential_copied"))
        details = [event.detail for record in records if (event := security_event(record))]
        return [text.partition(" of bob signed with ")[2] for text in details] == [
            "counter 9 after 9: it may have been copied",
            "counter 2 after 9: it may have been copied",
            "counter 0 after 2: it may have been copied",
        ]

    await eventually(recorded, what="the security events")
