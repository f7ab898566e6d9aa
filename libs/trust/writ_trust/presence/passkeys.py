"""WebAuthn assertions of passkeys (WebAuthn level 3, §7.2), whose challenge is the SHA-256 of the signed bytes.

The key, its algorithm, RP ID and origins come from the credential, nothing of them from the assertion.
"""

import base64
import binascii
import hashlib
import json
from typing import Any

from writ_contracts.credentials import Credential, PasskeyEvidence, Proof
from writ_contracts.errors import Untrusted
from writ_trust.keys import verify_raw
from writ_trust.presence import p256
from writ_trust.presence.flags import proof_of

EDDSA, ES256 = -8, -7
HEAD_BYTES = 37
"""SHA-256 of the RP ID, flags, counter."""
BACKUP_ELIGIBLE, BACKED_UP, ATTESTED, EXTENDED = 0x08, 0x10, 0x40, 0x80


def verify(evidence: PasskeyEvidence, credential: Credential, data: bytes) -> tuple[Proof, int]:
    """Return the proof and the authenticator's counter of an assertion over `data`. Raises Untrusted."""
    if not credential.credential_id or evidence.credential_id != credential.credential_id:
        raise Untrusted("the assertion comes from another passkey than the credential's")
    client_data, head = decoded(evidence.client_data), decoded(evidence.authenticator_data)
    _check_client_data(client_data, credential, data)
    _check_head(head, credential)
    signed = head + hashlib.sha256(client_data).digest()
    if not _holds(credential, signed, decoded(evidence.signature)):
        raise Untrusted("the passkey's signature is not valid")
    return proof_of(head[32]), int.from_bytes(head[33:37], "big")


def _check_client_data(client_data: bytes, credential: Credential, data: bytes) -> None:
    members = _read_object(client_data)
    challenge = encoded(hashlib.sha256(data).digest())
    if members.get("type") != "webauthn.get":
        raise Untrusted("the type of the client data is not webauthn.get")
    if members.get("challenge") != challenge:
        raise Untrusted("the assertion's challenge is not the SHA-256 of the statement")
    if members.get("origin") not in credential.origins:
        raise Untrusted(
            f"the assertion was made at {ascii(members.get('origin'))[:100]}, which is not an origin of the credential"
        )
    if members.get("crossOrigin", False) is not False or "topOrigin" in members:
        raise Untrusted("the assertion was made in a cross-origin frame")


def _check_head(head: bytes, credential: Credential) -> None:
    if len(head) < HEAD_BYTES:
        raise Untrusted("the authenticator data ends too early")
    flags = head[32]
    if head[:32] != hashlib.sha256(credential.rp_id.encode()).digest():
        raise Untrusted(f"the assertion is for another RP ID than {credential.rp_id}")
    if flags & ATTESTED or bool(flags & EXTENDED) is not (len(head) > HEAD_BYTES):
        raise Untrusted("the flags of the authenticator data do not fit an assertion")
    if flags & BACKED_UP and not flags & BACKUP_ELIGIBLE:
        raise Untrusted("the authenticator data says that the passkey is backed up, but not that it can be")


def _holds(credential: Credential, signed: bytes, signature: bytes) -> bool:
    raw = public_key(credential)
    if credential.algorithm == EDDSA:
        return verify_raw(raw, signed, signature)
    return p256.verify(raw, signed, signature)


def public_key(credential: Credential) -> bytes:
    """Return the raw key (32 bytes, or a point of 65), which must be one of the algorithm. Raises Untrusted."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key  # noqa: PLC0415 - heavy, and seldom used

    try:
        key = load_der_public_key(decoded(credential.key))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Untrusted("the passkey's public key is not a SubjectPublicKeyInfo") from error
    if credential.algorithm == EDDSA and isinstance(key, ed25519.Ed25519PublicKey):
        return key.public_bytes_raw()
    if credential.algorithm == ES256 and isinstance(key, ec.EllipticCurvePublicKey):
        return p256.check_point(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    raise Untrusted(f"the passkey's public key is not one of algorithm {credential.algorithm} (-8 Ed25519, -7 P-256)")


def _read_object(data: bytes) -> dict[str, Any]:
    try:
        members = json.loads(data, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise Untrusted("the client data is not JSON, or has a field twice") from error
    if not isinstance(members, dict):
        raise Untrusted("the client data is not an object")
    return members


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name occurs twice")
    return members


def encoded(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """Return the bytes of base64url without padding, in its only form. Raises Untrusted."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise Untrusted("not base64url") from error
    if encoded(data) != text:
        raise Untrusted("not base64url without padding")
    return data
