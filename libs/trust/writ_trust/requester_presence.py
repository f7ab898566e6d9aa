"""Proof of the requester's presence, over the signed statement of the request. For policy and archives alike."""

from collections.abc import Iterable

from writ_contracts.errors import Untrusted
from writ_contracts.people.credentials import Credential, Presence, PresenceEvidence
from writ_contracts.signing import Signed
from writ_trust.presence.proofs import verify_proof

PREFIX = b"writ/presence/v1\0"
"""Stands before the statement in what is signed, so that no signature of an approval fits a request."""


def signed_bytes(statement: Signed) -> bytes:
    """Return the bytes signed by the credential."""
    return PREFIX + bytes(statement.payload)


def check_presence(statement: Signed, evidence: PresenceEvidence, credentials: Iterable[Credential]) -> Presence:
    """Return the presence proved by the evidence for this statement. Raises Untrusted (`bad_signature`,
    `proof_too_weak`).
    """
    credential = next((one for one in credentials if one.id == evidence.credential), None)
    if credential is None:
        raise Untrusted(f"the presence is proved by {evidence.credential}, which is not a credential of the requester")
    proven = verify_proof("touch", evidence.evidence, credential, signed_bytes(statement))
    return Presence(proven.proof, credential.attested)
