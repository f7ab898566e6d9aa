"""Verification of signed approvals, for policy, agents and the archive verifier alike.

`verify_proof` is the one place that knows the methods of signing. Proofs of presence (`touch`, `verified`) come with
SSHSIG and WebAuthn evidence, which needs enrolled credentials; until there are any, such evidence is refused.
"""

import base64
import binascii
import hashlib
from collections.abc import Collection

from msgspec import Raw

from writ_contracts.approvals import PROOFS, Approval, Evidence, Proof
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.wire import canonical, decode
from writ_trust.keys import Key, verify

BAD = "bad_approval"
PREFIX = b"writ/approval/v1\0"
"""Stands before the payload in what is signed, so that no other statement's signature fits an approval."""


def sign_approval(key: Key, approval: Approval) -> Evidence:
    """The approval, signed by its approver's nkey."""
    payload = canonical(approval)
    signature = base64.urlsafe_b64encode(key.sign(PREFIX + payload)).decode().rstrip("=")
    return Evidence(payload=Raw(payload), key=key.public, signature=signature)


def verify_proof(evidence: Evidence, keys: Collection[str], demanded: Proof = "key") -> Approval:
    """The approval, if one of the `keys` signed it with a proof of at least the demanded strength.

    Raises Untrusted (`bad_approval`) for any other.
    """
    if evidence.method != "nkey":
        raise Untrusted(f"evidence by {evidence.method} is not accepted: no credentials are enrolled", code=BAD)
    if evidence.key not in keys:
        raise Untrusted(f"signed by {evidence.key}, which is not the approver's key", code=BAD)
    if not verify(evidence.key, PREFIX + bytes(evidence.payload), _signature(evidence.signature)):
        raise Untrusted(f"the signature of {evidence.key} does not hold", code=BAD)
    approval = read_approval(evidence)
    if approval.proof != "key":
        raise Untrusted(f"an nkey's signature is no proof of kind {approval.proof!r}", code=BAD)
    if PROOFS.index(demanded) > PROOFS.index("key"):
        raise Untrusted(
            f"the demand asks for proof {demanded!r}, and an nkey's signature is {approval.proof!r}", code=BAD
        )
    return approval


def read_approval(evidence: Evidence) -> Approval:
    """The approval without checking who signed it: for showing, never for deciding. Raises Untrusted."""
    try:
        return decode(bytes(evidence.payload), Approval)
    except Invalid as error:
        raise Untrusted(f"what is signed is not an approval: {error}", code=BAD) from error


def approval_digest(evidence: Evidence) -> str:
    """SHA-256 of the signed bytes, by which a grant names the approval."""
    return hashlib.sha256(bytes(evidence.payload)).hexdigest()


def _signature(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise Untrusted("the signature is not base64url", code=BAD) from error
