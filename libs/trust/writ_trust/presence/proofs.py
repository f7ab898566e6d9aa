"""The one verification of a person's signature, for policy, agents and the verifier of archives alike."""

from typing import assert_never

from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.people.credentials import (
    PROOFS,
    Credential,
    Evidence,
    KeyEvidence,
    PasskeyEvidence,
    Proof,
    ProvenPresence,
    SshEvidence,
    strength,
)
from writ_contracts.wire import canonical
from writ_trust import keys
from writ_trust.digests import plain_digest
from writ_trust.presence import passkeys, ssh_keys, ssh_signatures

METHODS = {KeyEvidence: "nkey", SshEvidence: "ssh", PasskeyEvidence: "passkey"}


def verify_proof(level: Proof, evidence: Evidence, credential: Credential, signed_bytes: bytes) -> ProvenPresence:
    """Return the presence proved by `evidence` for these exact bytes, at least `level`.

    Raises Untrusted where the signature does not hold, is of another key, or proves less than is demanded. It is never
    more than the credential was enrolled for: a software key can claim any flag.
    """
    if credential.method != METHODS[type(evidence)]:
        raise Untrusted(f"the evidence does not match the method of credential {credential.id} ({credential.method})")
    presence, counter = _verify(evidence, credential, signed_bytes)
    proof = min(presence, credential.proof, key=PROOFS.index)
    if PROOFS.index(proof) < strength(level):
        raise Untrusted(_too_little(level, presence, credential), code="proof_too_weak")
    digest = plain_digest(canonical(evidence))
    return ProvenPresence(proof=proof, credential=credential.id, evidence_digest=digest, counter=counter)


def _verify(evidence: Evidence, credential: Credential, signed_bytes: bytes) -> tuple[Proof, int]:
    match evidence:
        case KeyEvidence():
            if not keys.verify(credential.key, signed_bytes, passkeys.decoded(evidence.signature)):
                raise Untrusted(f"the signature of credential {credential.id} is not valid")
            return "key", 0
        case SshEvidence():
            return ssh_signatures.verify(evidence.armored, ssh_keys.read_line(credential.key), signed_bytes)
        case PasskeyEvidence():
            return passkeys.verify(evidence, credential, signed_bytes)
        case _:
            assert_never(evidence)


def key_digest(credential: Credential) -> str:
    """Return the SHA-256 of the raw public key, the same by each method: one public key belongs to one person.

    Raises Untrusted where the key is none of the method, so it also checks a credential before it is enrolled.
    """
    match credential.method:
        case "nkey":
            try:
                return plain_digest(keys.decode_public(credential.key))
            except Invalid as error:
                raise Untrusted(str(error)) from error
        case "ssh":
            return plain_digest(ssh_keys.read(ssh_keys.read_line(credential.key)).raw)
        case "passkey":
            return plain_digest(passkeys.public_key(credential))
        case _:
            assert_never(credential.method)


def _too_little(level: Proof, presence: Proof, credential: Credential) -> str:
    if PROOFS.index(presence) < strength(level):
        return f"the proof {level} is required, and the signature proves only {presence}"
    return f"the proof {level} is required, and credential {credential.id} was enrolled for {credential.proof} at most"
