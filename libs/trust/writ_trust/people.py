"""Verification of the directory of people's credentials, for policy, agents and the verifier of archives alike.

The people-key alone enrols nobody once there are two people: each further credential needs an endorsement by another
person's. Nor does it take anything back: a successor has every entry of the version before it. Pure.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct, structs

from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.inventory import Principal
from writ_contracts.people.attestations import AttestationRoot, RelyingParty
from writ_contracts.people.credentials import Credential, Presence
from writ_contracts.people.directory import (
    LARGEST_DIRECTORY,
    CredentialEnrolment,
    DirectoryEntry,
    NamedDirectory,
    PeopleDirectory,
    PeopleKeySuccession,
    PersonCredential,
    Posture,
    SignedEnrolment,
)
from writ_contracts.people.persons import person_of
from writ_contracts.signing import Signed
from writ_contracts.wire import decode
from writ_trust.presence.attestations import verify_attestation
from writ_trust.presence.proofs import key_digest, verify_proof
from writ_trust.statements import check_installation, digest, open_signed

PREFIX = b"writ/credential/v1\0"
"""Stands before the payload in what is signed, so that no approval's signature fits an enrolment."""
BAD: Final = "bad_directory"


class Directory(Struct, frozen=True, eq=False, kw_only=True):
    """A verified version of the directory."""

    signed: Signed
    name: NamedDirectory
    at: float
    posture: Posture
    entries: Mapping[str, PersonCredential]
    """By id of the credential, in the order of their enrolment."""
    keys: tuple[str, ...]
    """The people-keys, the first one first. The last one signed this version."""
    attestation_roots: Sequence[AttestationRoot] = ()
    relying_parties: Sequence[RelyingParty] = ()

    def of_person(self, person: str) -> list[PersonCredential]:
        """Return the credentials of a person, removed ones too."""
        return [one for one in self.entries.values() if one.credential.person == person]

    def presences(self) -> dict[str, tuple[Presence, ...]]:
        """Return the presences each person's credentials can prove now."""
        found: dict[str, list[Presence]] = {}
        for one in self.entries.values():
            if one.removed_at is None:
                found.setdefault(one.credential.person, []).append(one.presence)
        return {person: tuple(presences) for person, presences in found.items()}


def open_directory(signed: Signed, people_keys: Collection[str], installation: str | None) -> Directory:
    """Return the directory, if a pinned people-key signed it for this installation (any, with None), or one that
    follows it, and every enrolment in it holds. Raises Untrusted.
    """
    try:
        size = len(bytes(signed.payload))
        if size > LARGEST_DIRECTORY:
            raise Untrusted(f"it has {size} bytes; at most {LARGEST_DIRECTORY} are allowed")
        version = open_signed(signed, PeopleDirectory, [signed.key], installation)
        keys = _succession(version, signed.key)
        if not set(keys) & set(people_keys):
            raise Untrusted(f"signed by {signed.key}, which is not trusted for this")
        entries = _entries(version, keys)
    except Untrusted as error:
        raise Untrusted(f"the directory of people's credentials is not valid: {error}", code=BAD) from error
    return Directory(
        signed=signed,
        name=NamedDirectory(number=version.number, digest=digest(signed)),
        at=version.at,
        posture=version.posture,
        entries=entries,
        keys=keys,
        attestation_roots=tuple(version.attestation_roots),
        relying_parties=tuple(version.relying_parties),
    )


def _succession(version: PeopleDirectory, signer: str) -> tuple[str, ...]:
    """Return all people-keys of the installation up to the signer, each named by the one before it."""
    keys: list[str] = []
    for link in version.successions:
        if keys and link.key != keys[-1]:
            raise Untrusted(f"people-key {link.key} names a successor, and was replaced before")
        following = open_signed(link, PeopleKeySuccession, [link.key], version.installation)
        keys = [*(keys or [link.key]), following.next]
    if len(set(keys)) < len(keys):
        raise Untrusted("a people-key is its own successor")
    if keys and keys[-1] != signer:
        raise Untrusted(f"signed by people-key {signer}, which is not the last one")
    return tuple(keys) or (signer,)


def _entries(version: PeopleDirectory, people_keys: Collection[str]) -> dict[str, PersonCredential]:
    found: dict[str, PersonCredential] = {}
    passkeys, before = set[str](), 0.0
    for entry in version.entries:
        if not before < entry.enrolled_at <= version.at:
            raise Untrusted("its entries are not in the order of their enrolment")
        one = _entry(entry, version, people_keys, found)
        if one.credential.id in found:
            raise Untrusted(f"the public key of {one.credential.id} occurs twice: a key belongs to one person")
        if one.credential.credential_id and one.credential.credential_id in passkeys:
            raise Untrusted(f"the passkey of {one.credential.id} has the credential id of another one")
        passkeys.add(one.credential.credential_id)
        found[one.credential.id], before = one, entry.enrolled_at
    persons = {one.credential.person for one in found.values()}
    if version.posture == "solo" and len(persons) > 1:
        raise Untrusted(f"posture solo is for one person, and it has {', '.join(sorted(persons))}")
    return found


def _entry(
    entry: DirectoryEntry,
    version: PeopleDirectory,
    people_keys: Collection[str],
    earlier: Mapping[str, PersonCredential],
) -> PersonCredential:
    enrolment = check_enrolment(entry.enrolment, people_keys, version.installation)
    credential = enrolment.credential
    endorser = _endorser(entry.enrolment, credential, earlier, entry.enrolled_at)
    if entry.removed_at is not None and entry.removed_at < entry.enrolled_at:
        raise Untrusted(f"credential {credential.id} was removed before it was enrolled")
    _check_relying_party(credential, version.relying_parties, entry.enrolled_at)
    device = None
    if enrolment.attestation is not None:
        device = verify_attestation(enrolment, version.attestation_roots, entry.enrolled_at)
    return PersonCredential(
        credential=structs.replace(credential, attested=device is not None),
        enrolled_at=entry.enrolled_at,
        endorser=endorser,
        removed_at=entry.removed_at,
        device="" if device is None else f"{device.aaguid} by {device.root}",
    )


def _check_relying_party(credential: Credential, parties: Sequence[RelyingParty], at: float) -> None:
    """Raises Untrusted for a passkey that may sign elsewhere than this installation's relying parties."""
    if credential.method != "passkey":
        return
    known = {one.origin for one in parties if one.rp_id == credential.rp_id and one.recorded_at <= at}
    if not credential.origins or (strange := set(credential.origins) - known):
        where = ", ".join(sorted(strange)) if credential.origins else "no origin"
        raise Untrusted(
            f"passkey {credential.id} is for {credential.rp_id} at {where}, no relying party of this installation: "
            "`writ credential relying-party` records it first"
        )


def read_enrolment(signed: SignedEnrolment) -> CredentialEnrolment:
    """Return the statement without verifying its signature. Raises Untrusted."""
    try:
        return decode(bytes(signed.payload), CredentialEnrolment)
    except Invalid as error:
        raise Untrusted(f"the signed bytes are not an enrolment: {error}") from error


def check_enrolment(signed: SignedEnrolment, people_keys: Collection[str], installation: str) -> CredentialEnrolment:
    """Return the statement if it is for this installation and signed by its credential, with the full presence the
    credential is enrolled for. Raises Untrusted.
    """
    enrolment = read_enrolment(signed)
    credential = enrolment.credential
    check_installation(enrolment, installation)
    if enrolment.people_key not in people_keys:
        raise Untrusted(f"credential {credential.id} was enrolled for another installation")
    if credential.id != key_digest(credential):
        raise Untrusted(f"credential {credential.id} has an id that is not the digest of its public key")
    if (credential.method == "nkey") is not (credential.proof == "key"):
        raise Untrusted(f"credential {credential.id} of method {credential.method} cannot prove {credential.proof}")
    verify_proof(credential.proof, signed.possession, credential, signed_bytes(signed))
    return enrolment


def signed_bytes(signed: SignedEnrolment) -> bytes:
    """Return the bytes signed by credential and endorser."""
    return PREFIX + bytes(signed.payload)


def needs_endorsement(credential: Credential, earlier: Mapping[str, PersonCredential]) -> bool:
    """Return true if another person had a credential before, who must therefore endorse; also if it was removed
    since.
    """
    return any(one.credential.person != credential.person and one.credential.proof != "key" for one in earlier.values())


def _endorser(
    signed: SignedEnrolment, credential: Credential, earlier: Mapping[str, PersonCredential], at: float
) -> str | None:
    if signed.endorser is None or signed.endorsement is None:
        if needs_endorsement(credential, earlier):
            raise Untrusted(f"nobody else endorsed credential {credential.id} of {credential.person}")
        return None
    by = earlier.get(signed.endorser)
    if by is None or (by.removed_at is not None and by.removed_at <= at):
        raise Untrusted(f"credential {credential.id} was endorsed by a credential that was not valid then")
    if by.credential.person == credential.person:
        raise Untrusted(f"{credential.person} endorsed a credential of their own")
    verify_proof("touch", signed.endorsement, by.credential, signed_bytes(signed))
    return by.credential.person


def check_successor(new: Directory, old: Directory) -> None:
    """Raises Untrusted (`bad_directory`) unless `new` is `old` or follows it, with nothing taken back."""
    if new.name == old.name:
        return
    if why := next(_differences(new, old), ""):
        text = f"version {new.name.number} of people's credentials does not follow version {old.name.number}: {why}"
        raise Untrusted(text, code=BAD)


def _differences(new: Directory, old: Directory) -> Iterator[str]:
    if new.name.number <= old.name.number:
        yield "its number is not higher"
    if new.at < old.at:
        yield "its time is before that of the former version"
    if new.keys[: len(old.keys)] != old.keys:
        yield "its people-key does not follow the known one"
    if (old.posture, new.posture) == ("team", "solo"):
        yield "posture team cannot change back to solo"
    for key, one in old.entries.items():
        later = new.entries.get(key)
        if later is None or (later.credential, later.enrolled_at) != (one.credential, one.enrolled_at):
            yield f"credential {key} is missing or was changed"
        elif later.removed_at != one.removed_at and (one.removed_at is not None or (later.removed_at or 0) < old.at):
            yield f"the removal of credential {key} was taken back or changed"
    for key, one in new.entries.items():
        if key not in old.entries and one.enrolled_at < old.at:
            yield f"credential {key} has an enrolment time before that of the former version"
    yield from _bound_differences(new, old)


def _bound_differences(new: Directory, old: Directory) -> Iterator[str]:
    """Yield the differences of roots and relying parties: each stays, and none is dated back."""
    parties = list(old.relying_parties)
    if list(new.relying_parties[: len(parties)]) != parties:
        yield "a relying party is missing or was changed"
    if len(new.attestation_roots) < len(old.attestation_roots):
        yield "an attestation root is missing"
    for before, after in zip(old.attestation_roots, new.attestation_roots, strict=False):
        if structs.replace(after, removed_at=before.removed_at) != before:
            yield "an attestation root is missing or was changed"
        elif after != before and (before.removed_at is not None or (after.removed_at or 0) < old.at):
            yield "the removal of an attestation root was taken back or dated back"
    added = [one.recorded_at for one in new.relying_parties[len(parties) :]]
    added += [one.recorded_at for one in new.attestation_roots[len(old.attestation_roots) :]]
    if any(at < old.at for at in added):
        yield "an attestation root or relying party has a time before that of the former version"


def check_new_person(directory: Directory | None, principal: Principal, known: Mapping[str, Principal]) -> None:
    """Raise Invalid (`conflict`) for a new human with enrolled credentials of an earlier person of that name,
    which would count for the new one.
    """
    after = {**known, principal.id: principal}
    person = person_of(principal.id, after)
    there = any(one.kind == "human" and person_of(one.id, known) == person for one in known.values())
    if directory is None or principal.kind != "human" or there:
        return
    left = [one.credential.id[:12] for one in directory.of_person(person) if one.removed_at is None]
    if left:
        text = f"credentials of an earlier person {person} are enrolled, and would count for {principal.id}"
        removals = ", ".join(f"`writ credential remove {one} --reason …`" for one in left)
        raise Invalid(f"{text}: {removals} first", code="conflict")


def payload_digest(enrolment: SignedEnrolment) -> str:
    """Return the SHA-256 of the signed bytes, by which people compare them on two screens."""
    return hashlib.sha256(bytes(enrolment.payload)).hexdigest()
