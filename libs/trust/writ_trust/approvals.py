"""Signing and verification of approvals, for policy, agents and the archive verifier alike.

The signature itself is checked by `presence.proofs.verify_proof`; this module checks the signed content.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence

from msgspec import Raw, Struct

from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.people.approvals import Approval, SignedApproval
from writ_contracts.people.credentials import KEY, Credential, Evidence, KeyEvidence, Presence, strength
from writ_contracts.people.directory import PersonCredential
from writ_contracts.wire import canonical, decode
from writ_trust.keys import Key
from writ_trust.presence.proofs import verify_proof
from writ_trust.statements import check_installation, named

BAD = "bad_approval"
PREFIX = b"writ/approval/v1\0"
"""Stands before the payload in what is signed, so that no other statement's signature fits an approval."""


def sign_approval(key: Key, approval: Approval) -> SignedApproval:
    """Return the approval, signed by its approver's nkey."""
    payload = canonical(named(approval, key.installation))
    signature = base64.urlsafe_b64encode(key.sign(PREFIX + payload)).decode().rstrip("=")
    return SignedApproval(payload=Raw(payload), credential=key.public, evidence=KeyEvidence(signature=signature))


def signed_bytes(approval: Approval) -> bytes:
    """Return the bytes a security key or passkey signs for this approval."""
    return PREFIX + canonical(approval)


def with_evidence(approval: Approval, credential: str, evidence: Evidence) -> SignedApproval:
    """Return the approval with the evidence made by this credential over its `signed_bytes`."""
    return SignedApproval(payload=Raw(canonical(approval)), credential=credential, evidence=evidence)


def nkey_credential(person: str, key: str) -> Credential:
    """Return a principal's own nkey as a credential: it proves access to the key, and no more."""
    return Credential(id=key, person=person, method="nkey", key=key, proof="key")


class ProvenApproval(Struct, frozen=True, kw_only=True):
    """A verified approval, its signer, and the presence proved by the signature. `counter`: of the signing device."""

    approval: Approval
    person: str
    presence: Presence
    counter: int = 0


def prove_approval(
    signed: SignedApproval,
    credentials: Iterable[Credential],
    demanded: Presence = KEY,
    *,
    installation: str | None,
) -> ProvenApproval:
    """Return the approval if one of the credentials signed it, proves the demanded presence and the claimed one, and it
    is for this installation (None: for any). Raises Untrusted (`bad_approval`, `proof_too_weak`, `other_installation`).
    """
    credential = next((one for one in credentials if one.id == signed.credential), None)
    if credential is None:
        raise Untrusted(f"signed by {signed.credential}, which is not a credential of the approver", code=BAD)
    approval = read_approval(signed)
    level = max(approval.proof, demanded.proof, key=strength)
    try:
        proven = verify_proof(level, signed.evidence, credential, PREFIX + bytes(signed.payload))
    except Untrusted as error:
        raise Untrusted(str(error), code=BAD if error.code == "bad_signature" else error.code) from error
    presence = Presence(proven.proof, credential.attested)
    if not presence.meets(demanded):
        raise Untrusted(f"an attested credential is required; {credential.id} is not", code="proof_too_weak")
    if installation is not None:
        check_installation(approval, installation)
    return ProvenApproval(approval=approval, person=credential.person, presence=presence, counter=proven.counter)


def own_nkey(known: Sequence[PersonCredential], person: str, key: str) -> list[Credential]:
    """Return the credential of a principal's nkey, if it counts. Once the directory has an nkey of the person, only its
    nkeys count, except removed ones; they prove no presence.
    """
    pinned = [one for one in known if one.credential.method == "nkey"]
    if pinned and key not in {one.credential.key for one in pinned if one.removed_at is None}:
        return []
    return [nkey_credential(person, key)]


def verify_own(signed: SignedApproval, installation: str | None) -> Approval:
    """Return the approval as `prove_approval`, if it is signed by the nkey it names. The caller must check the owner of
    the key.

    Raises Untrusted also for other methods than an nkey: their public keys are in the directory of credentials.
    """
    return prove_approval(signed, [nkey_credential("", signed.credential)], installation=installation).approval


def read_approval(signed: SignedApproval) -> Approval:
    """Return the approval without verifying its signature: for showing, never for deciding. Raises Untrusted."""
    try:
        return decode(bytes(signed.payload), Approval)
    except Invalid as error:
        raise Untrusted(f"the signed bytes are not an approval: {error}", code=BAD) from error


def approval_digest(signed: SignedApproval) -> str:
    """Return the SHA-256 of the signed bytes, by which a grant names the approval."""
    return hashlib.sha256(bytes(signed.payload)).hexdigest()
