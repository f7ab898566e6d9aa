"""Signing and verification of approvals, for policy, agents and the archive verifier alike.

The signature itself is checked by `presence.proofs.verify_proof`; here is what it must be over.
"""

import base64
import hashlib
from collections.abc import Iterable

from msgspec import Raw

from writ_contracts.approvals import Approval, SignedApproval
from writ_contracts.credentials import PROOFS, Credential, KeyEvidence, Proof
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.wire import canonical, decode
from writ_trust.keys import Key
from writ_trust.presence.proofs import verify_proof
from writ_trust.statements import check_installation, named

BAD = "bad_approval"
PREFIX = b"writ/approval/v1\0"
"""Stands before the payload in what is signed, so that no other statement's signature fits an approval."""


def sign_approval(key: Key, approval: Approval) -> SignedApproval:
    """The approval, signed by its approver's nkey."""
    payload = canonical(named(approval, key.installation))
    signature = base64.urlsafe_b64encode(key.sign(PREFIX + payload)).decode().rstrip("=")
    return SignedApproval(payload=Raw(payload), credential=key.public, evidence=KeyEvidence(signature=signature))


def nkey_credential(person: str, key: str) -> Credential:
    """The credential that a principal's own nkey is: it proves that a process had the key, and no more."""
    return Credential(id=key, person=person, method="nkey", key=key, proof="key")


def verify_approval(
    signed: SignedApproval,
    credentials: Iterable[Credential],
    demanded: Proof = "key",
    installation: str | None = "",
) -> Approval:
    """The approval, if one of the credentials signed it with a proof of at least the demanded strength, and of that
    which it claims itself, and it is for this installation (any, with None). Raises Untrusted (`bad_approval`,
    `proof_too_weak`, `other_installation`).
    """
    credential = next((one for one in credentials if one.id == signed.credential), None)
    if credential is None:
        raise Untrusted(f"signed by {signed.credential}, which is no credential of the approver", code=BAD)
    approval = read_approval(signed)
    level = max(approval.proof, demanded, key=PROOFS.index)
    try:
        verify_proof(level, signed.evidence, credential, PREFIX + bytes(signed.payload))
    except Untrusted as error:
        raise Untrusted(str(error), code=BAD if error.code == "bad_signature" else error.code) from error
    if installation is not None:
        check_installation(approval, installation)
    return approval


def verify_own(signed: SignedApproval, installation: str | None = "") -> Approval:
    """The approval, if the nkey signed it that it names. Whose key that is, somebody else must say.

    Raises Untrusted also for other methods than an nkey: their public keys are in the directory of credentials.
    """
    return verify_approval(signed, [nkey_credential("", signed.credential)], installation=installation)


def read_approval(signed: SignedApproval) -> Approval:
    """The approval without checking who signed it: for showing, never for deciding. Raises Untrusted."""
    try:
        return decode(bytes(signed.payload), Approval)
    except Invalid as error:
        raise Untrusted(f"what is signed is not an approval: {error}", code=BAD) from error


def approval_digest(signed: SignedApproval) -> str:
    """SHA-256 of the signed bytes, by which a grant names the approval."""
    return hashlib.sha256(bytes(signed.payload)).hexdigest()
