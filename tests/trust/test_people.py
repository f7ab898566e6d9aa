"""The directory of people's credentials: each field of its statements holds, and no version takes anything back."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw, structs

from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.people.attestations import AttestationRoot, RelyingParty
from writ_contracts.people.credentials import Credential, KeyEvidence, Presence
from writ_contracts.people.directory import (
    CredentialEnrolment,
    DirectoryEntry,
    PeopleDirectory,
    Posture,
    SignedEnrolment,
)
from writ_contracts.wire import canonical
from writ_testing.each_case import each_case
from writ_testing.fakes.attestation_authority import AttestationAuthority
from writ_testing.fakes.security_key import PRESENT, SoftwareSecurityKey, base64url
from writ_trust.approvals import own_nkey
from writ_trust.keys import Key, generate_seed
from writ_trust.people import Directory, check_successor, open_directory, signed_bytes
from writ_trust.presence.passkeys import check_relying_party
from writ_trust.presence.proofs import key_digest
from writ_trust.statements import sign

PEOPLE_KEY, OTHER = Key(generate_seed()), Key(generate_seed())
BOB, CAROL, THIRD = SoftwareSecurityKey(), SoftwareSecurityKey("ecdsa"), SoftwareSecurityKey()


def credential(person: str, key: SoftwareSecurityKey, **changed: Any) -> Credential:
    return structs.replace(key.ssh_credential(person), **{"id": key.id, **changed})


def enrolment(
    person: str,
    key: SoftwareSecurityKey,
    *,
    by: SoftwareSecurityKey | None = None,
    flags: int = 5,
    signer: SoftwareSecurityKey | None = None,
    people_key: str = PEOPLE_KEY.public,
    **changed: Any,
) -> SignedEnrolment:
    statement = CredentialEnrolment(
        people_key=people_key, credential=credential(person, key, **changed), issued_at=1.0, nonce="ab" * 32
    )
    draft = SignedEnrolment(payload=Raw(canonical(statement)), possession=KeyEvidence(signature=""))
    made = structs.replace(draft, possession=(signer or key).sign_ssh(signed_bytes(draft), flags=flags))
    if by is None:
        return made
    return structs.replace(made, endorser=by.id, endorsement=by.sign_ssh(signed_bytes(made), flags=PRESENT))


def entry(enrolled: SignedEnrolment, at: float, **changed: Any) -> DirectoryEntry:
    return structs.replace(DirectoryEntry(enrolment=enrolled, enrolled_at=at), **changed)


FIRST, SECOND = entry(enrolment("bob", BOB), 10.0), entry(enrolment("carol", CAROL, by=BOB), 20.0)


def version(
    *entries: DirectoryEntry,
    number: int = 1,
    at: float = 100.0,
    posture: Posture = "team",
    key: Key = PEOPLE_KEY,
    **bounds: Any,
) -> Directory:
    directory = PeopleDirectory(number=number, at=at, posture=posture, entries=list(entries), **bounds)
    return open_directory(sign(key, directory), [PEOPLE_KEY.public], "")


def test_the_credentials_of_two_people_hold_and_the_second_is_endorsed() -> None:
    directory = version(FIRST, SECOND)
    assert [(one.credential.person, one.endorser) for one in directory.entries.values()] == [
        ("bob", None),
        ("carol", "bob"),
    ]
    assert directory.presences()["carol"] == (Presence("verified"),)


@each_case(
    ("entries", "why"),
    [
        ([FIRST, entry(enrolment("carol", CAROL), 20.0)], "nobody else endorsed"),
        ([FIRST, entry(enrolment("carol", CAROL, by=CAROL), 20.0)], "was not valid then"),
        ([FIRST, entry(enrolment("carol", CAROL, by=THIRD), 20.0)], "was not valid then"),
        ([FIRST, SECOND, entry(enrolment("bob", THIRD, by=BOB), 30.0)], "bob endorsed a credential of their own"),
        ([FIRST, SECOND, entry(enrolment("bob", THIRD), 30.0)], "nobody else endorsed"),
        ([entry(enrolment("bob", BOB), 10.0, removed_at=15.0), SECOND], "was not valid then"),
        ([FIRST, entry(enrolment("eve", BOB, by=BOB), 20.0)], "eve|twice"),
        ([structs.replace(FIRST, enrolled_at=30.0), entry(enrolment("bob", THIRD), 20.0)], "order of their enrolment"),
        ([FIRST, structs.replace(SECOND, enrolled_at=10.0)], "order of their enrolment"),
        ([FIRST, structs.replace(SECOND, enrolled_at=101.0)], "order of their enrolment"),
        ([structs.replace(FIRST, removed_at=9.0)], "removed before it was enrolled"),
        ([entry(enrolment("bob", BOB, flags=PRESENT), 10.0)], "verified is required"),
        ([entry(enrolment("bob", BOB, flags=0), 10.0)], "nobody touched"),
        ([entry(enrolment("bob", BOB, signer=CAROL), 10.0)], "by another key"),
        ([entry(enrolment("bob", BOB, people_key=OTHER.public), 10.0)], "another installation"),
        ([entry(enrolment("bob", BOB, id=CAROL.id), 10.0)], "digest of its public key"),
        ([entry(enrolment("bob", BOB, proof="key"), 10.0)], "cannot prove key"),
    ],
)
def test_an_enrolment_that_does_not_hold_refuses_the_whole_version(entries: list[DirectoryEntry], why: str) -> None:
    with pytest.raises(Untrusted, match=why) as refused:
        version(*entries)
    assert refused.value.code == "bad_directory"


def test_each_field_of_a_signed_enrolment_is_covered_by_its_signatures() -> None:
    text = bytes(SECOND.enrolment.payload)
    for old, new in ((b'"carol"', b'"mary1"'), (b'"verified"', b'"touch"'), (b"1.0", b"2.0"), (b"abab", b"acab")):
        assert old in text
        changed = structs.replace(SECOND.enrolment, payload=Raw(text.replace(old, new, 1)))
        with pytest.raises(Untrusted):
            version(FIRST, structs.replace(SECOND, enrolment=changed))


def test_a_signature_for_an_approval_is_none_for_an_enrolment() -> None:
    made = enrolment("carol", CAROL)
    other = b"writ/approval/v1\0" + bytes(made.payload)
    changed = structs.replace(made, endorser=BOB.id, endorsement=BOB.sign_ssh(other))
    with pytest.raises(Untrusted, match="is not valid for the statement"):
        version(FIRST, entry(changed, 20.0))


def test_only_the_pinned_people_key_signs_a_version() -> None:
    with pytest.raises(Untrusted, match="not trusted for this"):
        version(FIRST, key=OTHER)


def test_posture_solo_is_for_one_person() -> None:
    assert version(FIRST, posture="solo").posture == "solo"
    with pytest.raises(Untrusted, match="solo is for one person"):
        version(FIRST, SECOND, posture="solo")


REMOVED = structs.replace(SECOND, removed_at=150.0)


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (lambda: version(FIRST, SECOND, number=2, at=99.0), "its time is before"),
        (lambda: version(FIRST, SECOND, number=1, at=101.0), "number is not higher"),
        (lambda: version(FIRST, number=2, at=101.0), "is missing or was changed"),
        (lambda: version(FIRST, structs.replace(SECOND, enrolled_at=21.0), number=2), "is missing or was changed"),
        (lambda: version(FIRST, structs.replace(SECOND, removed_at=50.0), number=2), "the removal of"),
        (lambda: version(FIRST, SECOND, entry(enrolment("bob", THIRD, by=CAROL), 30.0), number=2), "enrolment time"),
    ],
)
def test_a_version_that_takes_something_back_is_no_successor(new: Callable[[], Directory], why: str) -> None:
    with pytest.raises(Untrusted, match=why):
        check_successor(new(), version(FIRST, SECOND))


def test_a_removal_stays_and_posture_team_stays() -> None:
    removed = version(FIRST, REMOVED, number=2, at=150.0)
    check_successor(removed, version(FIRST, SECOND))
    check_successor(removed, removed)
    with pytest.raises(Untrusted, match="was taken back or changed"):
        check_successor(version(FIRST, SECOND, number=3, at=160.0), removed)
    with pytest.raises(Untrusted, match="cannot change back to solo"):
        check_successor(version(FIRST, number=2, posture="solo"), version(FIRST))
    check_successor(version(FIRST, number=2), version(FIRST, posture="solo"))


def test_a_credential_counts_after_its_enrolment_and_until_its_removal() -> None:
    one = version(FIRST, REMOVED, number=2, at=150.0).entries
    assert [one[BOB.id].counts_for(at) for at in (9.0, 10.0, 11.0)] == [False, False, True]
    assert not one[CAROL.id].counts_for(100.0)
    assert [one[CAROL.id].counted_at(at, 100.0) for at in (149.0, 150.0)] == [True, False]


def test_an_nkey_in_the_directory_excludes_other_nkeys_of_that_person_also_once_it_is_removed() -> None:
    own, other = Key(generate_seed()), Key(generate_seed())
    draft = Credential(id="x", person="bob", method="nkey", key=own.public, proof="key")
    known = structs.replace(draft, id=key_digest(draft))
    statement = CredentialEnrolment(people_key=PEOPLE_KEY.public, credential=known, issued_at=1.0, nonce="ab" * 32)
    made = SignedEnrolment(payload=Raw(canonical(statement)), possession=KeyEvidence(signature=""))
    signature = Key(own.seed).sign(signed_bytes(made))
    made = structs.replace(made, possession=KeyEvidence(signature=base64url(signature)))
    pinned = version(entry(made, 10.0)).of_person("bob")
    assert [one.key for one in own_nkey(pinned, "bob", own.public)] == [own.public]
    assert own_nkey(pinned, "bob", other.public) == []
    removed = version(entry(made, 10.0, removed_at=20.0)).of_person("bob")
    assert own_nkey(removed, "bob", own.public) == []


def party(origin: str = "https://writ.example", **changed: Any) -> RelyingParty:
    return structs.replace(RelyingParty(rp_id="writ.example", origin=origin, recorded_at=5.0), **changed)


def by_passkey(key: SoftwareSecurityKey = BOB, at: float = 10.0, **changed: Any) -> DirectoryEntry:
    known = structs.replace(key.passkey_credential("bob"), **{"id": key.id, **changed})
    statement = CredentialEnrolment(people_key=PEOPLE_KEY.public, credential=known, issued_at=1.0, nonce="ab" * 32)
    draft = SignedEnrolment(payload=Raw(canonical(statement)), possession=KeyEvidence(signature=""))
    return entry(structs.replace(draft, possession=key.assertion(signed_bytes(draft), person="bob")), at)


def test_a_passkey_signs_only_at_the_relying_parties_of_the_installation() -> None:
    assert version(by_passkey(), relying_parties=[party()]).presences()["bob"] == (Presence("verified"),)
    for parties in (
        [],
        [party("https://evil.example")],
        [party(rp_id="evil.example")],
        [party(recorded_at=11.0)],
    ):
        with pytest.raises(Untrusted, match="no relying party of this installation"):
            version(by_passkey(), relying_parties=parties)
    both = ["https://writ.example", "https://evil.example"]
    with pytest.raises(Untrusted, match=r"at https://evil\.example, no relying party"):
        version(by_passkey(origins=both), relying_parties=[party()])


def test_a_credential_id_belongs_to_one_passkey() -> None:
    entries = [by_passkey(), by_passkey(CAROL, 20.0)]
    with pytest.raises(Untrusted, match="has the credential id of another one"):
        version(*entries, relying_parties=[party()])


def test_a_statement_of_the_enroller_attests_nothing() -> None:
    directory = version(entry(enrolment("bob", BOB, attested=True), 10.0))
    assert directory.presences()["bob"] == (Presence("verified"),)


ROOT = AttestationRoot(certificate=base64url(AttestationAuthority().der), recorded_at=90.0)


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ({"relying_parties": [party()]}, {}, "relying party is missing"),
        (
            {"relying_parties": [party()]},
            {"relying_parties": [party("https://a.writ.example")]},
            "or was changed",
        ),
        ({}, {"relying_parties": [party()]}, "time before that of the former"),
        ({"attestation_roots": [ROOT]}, {}, "root is missing"),
        (
            {"attestation_roots": [ROOT]},
            {"attestation_roots": [structs.replace(ROOT, recorded_at=1.0)]},
            "or was changed",
        ),
        ({}, {"attestation_roots": [ROOT]}, "time before that of the former"),
        (
            {"attestation_roots": [structs.replace(ROOT, removed_at=95.0)]},
            {"attestation_roots": [ROOT]},
            "taken back or dated back",
        ),
        (
            {"attestation_roots": [ROOT]},
            {"attestation_roots": [structs.replace(ROOT, removed_at=95.0)]},
            "taken back or dated back",
        ),
    ],
)
def test_roots_and_relying_parties_are_not_taken_back(before: Any, after: Any, why: str) -> None:
    with pytest.raises(Untrusted, match=why):
        check_successor(version(FIRST, number=2, at=120.0, **after), version(FIRST, **before))


def test_roots_and_relying_parties_are_added_and_roots_removed_from_now_on() -> None:
    first = version(FIRST)
    added: dict[str, Any] = {
        "relying_parties": [party(recorded_at=110.0)],
        "attestation_roots": [structs.replace(ROOT, recorded_at=110.0)],
    }
    second = version(FIRST, number=2, at=110.0, **added)
    check_successor(second, first)
    removed: dict[str, Any] = {
        **added,
        "attestation_roots": [structs.replace(ROOT, recorded_at=110.0, removed_at=120.0)],
    }
    check_successor(version(FIRST, number=3, at=120.0, **removed), second)


@pytest.mark.parametrize(
    ("rp_id", "origin"),
    [
        ("writ.example", "http://writ.example"),
        ("writ.example", "https://writ.example/"),
        ("writ.example", "https://other.example"),
        ("writ.example", "https://evilwrit.example"),
        ("writ.example", "https://user@writ.example"),
        ("Writ.example", "https://writ.example"),
        ("192.0.2.1", "https://192.0.2.1"),
        ("", "https://"),
        ("writ.example", "ftp://writ.example"),
    ],
)
def test_a_relying_party_that_no_browser_takes_is_refused(rp_id: str, origin: str) -> None:
    with pytest.raises(Invalid):
        check_relying_party(rp_id, origin)
    for right in (("writ.example", "https://a.writ.example:8443"), ("localhost", "http://localhost:8080")):
        check_relying_party(*right)
