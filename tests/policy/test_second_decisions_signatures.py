"""Second decisions on records whose signatures are claimed, of another request, or do not hold."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec import Raw, structs
from tests.policy.approving import Pending, awaiting, know, preview, stamp
from tests.policy.publishing import document, publish, publishable
from tests.policy.replica import Asking
from tests.policy.second_decisions import allowed, checked, checker, last_checked, recorded, start
from tests.trust.test_people import BOB, CAROL, FIRST, SECOND
from tests.trust.test_people import THIRD as STRANGER

from writ_contracts.decisions import Decision, Subject
from writ_contracts.journal import Approved
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.people.credentials import KeyEvidence
from writ_contracts.people.directory import PeopleDirectory
from writ_rules.second_decisions.comparison import UNFORESEEN
from writ_testing.fakes.security_key import SoftwareSecurityKey
from writ_trust.approvals import read_approval, sign_approval, signed_bytes, with_evidence
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import digest, read

DISABLES = {"action": "disable", "principal_id": "copilot"}
WAITS = {"name": "restarts", "operations": ["service_restart"], "allowed": True, "requires_approval": True}


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with publishable(tmp_path) as asking:
        yield asking


def unsigned(asking: Asking, subject: Subject) -> Subject:
    return structs.replace(subject, statement=None)


def badly_signed(asking: Asking, subject: Subject) -> Subject:
    assert subject.statement is not None
    return structs.replace(subject, statement=structs.replace(subject.statement, signature="A" * 86))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (unsigned, "no statement of alice"),
        (badly_signed, "is not valid: the signature"),
        (lambda asking, subject: asking.signed(subject, by="stranger"), "is not valid: signed by"),
        (lambda asking, subject: asking.signed(subject, target="web-b"), "for another request"),
        (lambda asking, subject: asking.signed(subject, dry_run=True), "signed other parameters"),
        (lambda _, subject: structs.replace(subject, parameters={"file_path": "/srv/y"}), "signed other parameters"),
    ],
)
async def test_a_claimed_signature_that_is_not_on_record_differs(
    asking: Asking, tmp_path: Path, change: Callable[[Asking, Subject], Subject], why: str
) -> None:
    honest = asking.signed(asking.subject("file_delete", parameters={"file_path": "/srv/x"}))
    decision = await asking.decision(honest)
    about = change(asking, honest)
    named = digest(about.statement) if about.statement is not None else None
    record = await recorded(asking, about, structs.replace(decision, statement_digest=named))
    found = await checker(asking, tmp_path).check(record)
    assert found is not None
    assert why in found.comparison.why


async def test_a_decision_on_another_statement_than_the_one_on_record_differs(asking: Asking, tmp_path: Path) -> None:
    about = asking.signed(asking.subject("file_delete", parameters={"file_path": "/srv/x"}))
    found = await checked(asking, tmp_path, about, lambda one: structs.replace(one, statement_digest="0" * 64))
    assert "another statement of alice" in found.why


async def test_a_signature_by_a_key_of_then_is_no_difference_where_the_files_are_unknown(
    asking: Asking, tmp_path: Path
) -> None:
    """Alice had another key then, and the principals of the time are not known here."""
    about = asking.signed(asking.subject("file_delete", parameters={"file_path": "/srv/x"}))
    decision = await asking.decision(about)
    know(asking, alice=["operator"])
    asking.files.keys["alice"] = Key(generate_seed())
    know(asking)
    record = await recorded(asking, about, decision)
    found = await checker(asking, tmp_path).check(record)
    assert found is not None
    assert (found.comparison.result, found.comparison.why) == (
        "open",
        "it names files that this audit service has never read",
    )


async def waiting(asking: Asking) -> Pending:
    """Return a request of alice which needs an approval."""
    at = await publish(asking, document(WAITS))
    await asking.decision(asking.subject(), control_sequence=at)
    return await awaiting(asking, asking.subject())


async def test_an_approval_counts_by_its_signature_of_the_exact_request(asking: Asking, tmp_path: Path) -> None:
    one = await waiting(asking)
    await preview(one)
    assert (await one.decide()).error is None
    await one.dispatched()
    answer = await asking.granted_as_recorded(one.subject)
    assert answer.grant is not None
    assert (await last_checked(asking, tmp_path, one.subject)).result == "same"


def forged_signature(_: Asking, signed: SignedApproval) -> SignedApproval:
    return structs.replace(signed, evidence=KeyEvidence(signature="A" * 86))


def other_evidence(asking: Asking, signed: SignedApproval) -> SignedApproval:
    """Give the approval evidence of another kind; its credential stays an nkey."""
    key = SoftwareSecurityKey()
    return structs.replace(signed, evidence=key.sign_ssh(b"x"))


def of_another_request(asking: Asking, signed: SignedApproval) -> SignedApproval:
    return sign_approval(asking.files.keys["bob"], structs.replace(read_approval(signed), requested="0" * 64))


def by_a_stranger(asking: Asking, signed: SignedApproval) -> SignedApproval:
    return sign_approval(asking.files.keys["stranger"], read_approval(signed))


@pytest.mark.parametrize("forge", [forged_signature, other_evidence, of_another_request, by_a_stranger])
async def test_an_approval_whose_signature_does_not_hold_does_not_count(
    asking: Asking, tmp_path: Path, forge: Callable[[Asking, SignedApproval], SignedApproval]
) -> None:
    one = await waiting(asking)
    forged = forge(asking, sign_approval(asking.files.keys["bob"], one.approval()))
    await approve(asking, one, forged)
    decision = structs.replace(allowed(read(one.signed, Decision)), approvals=["bob"])
    await asking.append(one.subject, start(asking, one.subject, decision))
    found = await last_checked(asking, tmp_path, one.subject)
    assert (found.result, found.expected) == ("differs", "require_approval (approval_required)")


async def approve(asking: Asking, one: Pending, signed: SignedApproval) -> None:
    """Record it, as policy's key may."""
    await asking.append(
        one.subject,
        Approved(
            **stamp(asking, "approved"), operation_id=one.subject.operation_id, approver="bob", approvals=[signed]
        ),
    )


async def test_an_approval_that_cannot_be_read_differs(asking: Asking, tmp_path: Path) -> None:
    one = await waiting(asking)
    signed = sign_approval(asking.files.keys["bob"], one.approval())
    await approve(asking, one, structs.replace(signed, payload=Raw(b"{}")))
    await asking.append(one.subject, start(asking, one.subject, allowed(read(one.signed, Decision))))
    found = await last_checked(asking, tmp_path, one.subject)
    assert found.result == "differs"
    assert found.why.startswith("its record cannot be read: the signed bytes are not an approval")


def directory() -> PeopleDirectory:
    """Bob's token, enrolled first, and carol's."""
    return PeopleDirectory(number=1, at=100.0, posture="team", entries=[FIRST, SECOND])


@pytest.mark.parametrize(
    ("credential", "by", "result"),
    [(BOB, BOB, "same"), (BOB, STRANGER, "differs"), (STRANGER, STRANGER, "differs"), (CAROL, CAROL, "differs")],
)
async def test_an_approval_by_a_security_key_counts_by_the_directory_of_credentials(
    asking: Asking, tmp_path: Path, credential: SoftwareSecurityKey, by: SoftwareSecurityKey, result: str
) -> None:
    one = await waiting(asking)
    approval = one.approval()
    await approve(asking, one, with_evidence(approval, credential.id, by.sign_ssh(signed_bytes(approval))))
    decision = structs.replace(allowed(read(one.signed, Decision)), approvals=["bob"])
    await asking.append(one.subject, start(asking, one.subject, decision))
    assert (await last_checked(asking, tmp_path, one.subject, directory())).result == result


async def test_a_signed_reason_is_the_one_on_record(asking: Asking, tmp_path: Path) -> None:
    plain = structs.replace(asking.subject("file_delete", parameters={"file_path": "/srv/x"}), reason="patch day")
    honest = asking.signed(plain, reason="patch day")
    decision = await asking.decision(honest)
    assert decision.authenticated == "signature"
    with pytest.raises(AssertionError, match="differs in reason"):
        await asking.decision(structs.replace(honest, reason="please approve"))


async def test_session_signature_differs_if_the_principals_own_key_is_required(asking: Asking, tmp_path: Path) -> None:
    at = await publish(asking, document({"name": "manages", "operations": ["principal_manage"], "allowed": True}))
    about = asking.signed(asking.subject("principal_manage", "writ", parameters=DISABLES))

    def by_session(decision: Decision) -> Decision:
        return structs.replace(allowed(decision), session="s1")

    found = await checked(asking, tmp_path, about, by_session, control_sequence=at)
    assert (found.result, found.why) == (
        "differs",
        "principal_manage needs the principal's own key, and it came by session s1",
    )


async def test_unexpected_error_of_second_decisions_is_reported_and_the_check_continues(
    asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr("writ_rules.second_decisions.checker.compare", fails)
    found = await checked(asking, tmp_path, asking.subject())
    assert (found.result, found.why) == ("open", f"{UNFORESEEN}: KeyError in fails")
