"""WebAuthn assertions of passkeys (WebAuthn level 3, §7.2), whose challenge is the SHA-256 of the signed bytes.

The key, its algorithm, RP ID and origins come from the credential, nothing of them from the assertion.
"""

import base64
import binascii
import hashlib
import json
import re
from types import MappingProxyType
from typing import Any, Final

from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.people.credentials import Algorithm, Credential, PasskeyEvidence, Proof
from writ_trust.keys import verify_raw
from writ_trust.presence import p256, rsa
from writ_trust.presence.authenticator_data import (
    ATTESTED,
    BACKED_UP,
    BACKUP_ELIGIBLE,
    EDDSA,
    ES256,
    EXTENDED,
    HEAD_BYTES,
    RS256,
)
from writ_trust.presence.flags import proof_of

NAME: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
HOST: Final = re.compile(NAME)
ORIGIN: Final = re.compile(rf"(?P<scheme>https?)://(?P<host>{NAME})(:[1-9][0-9]{{0,4}})?")
SPKI: Final = MappingProxyType(
    {
        EDDSA: bytes.fromhex("302a300506032b6570032100"),
        ES256: bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200"),
    }
)
"""The bytes of a SubjectPublicKeyInfo in front of a raw key of constant length."""
TAKEN: Final = "(-8 Ed25519, -7 P-256, -257 RSA)"


def verify(evidence: PasskeyEvidence, credential: Credential, data: bytes) -> tuple[Proof, int]:
    """Return the proof and the authenticator's counter of an assertion over `data`. Raises Untrusted."""
    if not credential.credential_id or evidence.credential_id != credential.credential_id:
        raise Untrusted("the assertion comes from another passkey than the credential's")
    client_data, head = decoded(evidence.client_data), decoded(evidence.authenticator_data)
    check_client_data(client_data, credential, "webauthn.get", hashlib.sha256(data).digest())
    _check_head(head, credential)
    signed = head + hashlib.sha256(client_data).digest()
    if not _holds(credential, signed, decoded(evidence.signature)):
        raise Untrusted("the passkey's signature is not valid")
    return proof_of(head[32]), int.from_bytes(head[33:37], "big")


def check_client_data(client_data: bytes, credential: Credential, kind: str, challenge: bytes) -> None:
    """Raises Untrusted unless a browser made this client data for the challenge, at an origin of the credential.
    `kind`: `webauthn.get` of an assertion, `webauthn.create` of a registration.
    """
    members = _read_object(client_data)
    if members.get("type") != kind:
        raise Untrusted(f"the type of the client data is not {kind}")
    if members.get("challenge") != encoded(challenge):
        raise Untrusted("the challenge of the client data is not the expected one")
    if members.get("origin") not in credential.origins:
        raise Untrusted(
            f"it was made at {ascii(members.get('origin'))[:100]}, which is not an origin of the credential"
        )
    if members.get("crossOrigin", False) is not False or "topOrigin" in members:
        raise Untrusted("it was made in a cross-origin frame")


def check_relying_party(rp_id: str, origin: str) -> None:
    """Raises Invalid unless browsers let passkeys of this RP ID sign at this origin (WebAuthn level 3, §5.1.3): a name
    under TLS, or localhost.
    """
    found, local = ORIGIN.fullmatch(origin), rp_id == "localhost"
    if not HOST.fullmatch(rp_id) or not (local or re.search("[a-z]", rp_id.rpartition(".")[2])):
        raise Invalid(f"{rp_id!r} is no RP ID: a host name in lower case, such as writ.example; never an address")
    if found is None:
        raise Invalid(f"{origin!r} is no origin: scheme, host and port alone, such as https://writ.example")
    if found["host"] != rp_id and not found["host"].endswith(f".{rp_id}"):
        raise Invalid(f"passkeys of {rp_id} sign at {rp_id} and hosts below it, not at {origin}")
    if found["scheme"] == "http" and not local:
        raise Invalid(f"browsers use passkeys over TLS alone, not at {origin}")


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
    if credential.algorithm == RS256:
        return rsa.verify(raw, signed, signature)
    return p256.verify(raw, signed, signature)


def public_key(credential: Credential) -> bytes:
    """Return the raw key, which must be one of the algorithm: 32 bytes, a point of 65, or RSA's in DER. Raises
    Untrusted.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.serialization import load_der_public_key  # noqa: PLC0415 - heavy, and seldom used

    der = decoded(credential.key)
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Untrusted("the passkey's public key is not a SubjectPublicKeyInfo") from error
    raw = _raw_key(key, credential.algorithm)
    if raw is None:
        raise Untrusted(f"the passkey's public key is not one of algorithm {credential.algorithm} {TAKEN}")
    if raw == der:  # the library reads RSA's own form as well
        raise Untrusted("the passkey's public key is not a SubjectPublicKeyInfo")
    return raw


def _raw_key(key: object, algorithm: int) -> bytes | None:
    """Return the raw key, or None for one of another algorithm. Raises Untrusted for one that cannot be used."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - heavy, and seldom used

    match algorithm, key:
        case -8, Ed25519PublicKey():
            return key.public_bytes_raw()
        case -7, EllipticCurvePublicKey():
            return p256.check_point(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        case -257, RSAPublicKey():
            return rsa.as_raw(key)
        case _:
            return None


def spki(algorithm: Algorithm, raw: bytes) -> str:
    """Return the SubjectPublicKeyInfo of a raw key in base64url."""
    return encoded(rsa.spki(raw) if algorithm == RS256 else SPKI[algorithm] + raw)


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
