"""Verification of attestations: `packed` of WebAuthn (level 3, §8.2) and the file of `ssh-keygen -O write-attestation`.

Both are the device certificate's signature over authenticator data and the hash of a challenge. The challenge names
installation and person. Only basic attestation counts: in self attestation a key vouches for itself.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, assert_never

from msgspec import Struct

from writ_contracts.errors import Untrusted
from writ_contracts.people.attestations import AttestationRoot, PasskeyAttestation, SshAttestation
from writ_contracts.people.credentials import Credential, strength
from writ_contracts.people.directory import CredentialEnrolment
from writ_contracts.wire import canonical
from writ_trust.digests import plain_digest
from writ_trust.presence import cbor, p256, passkeys, ssh_keys
from writ_trust.presence.authenticator_data import ES256, RegisteredKey, read_registered
from writ_trust.presence.certificates import verify_chain
from writ_trust.presence.proofs import key_digest
from writ_trust.presence.ssh_wire import Reader

PREFIX: Final = b"writ/attestation/v1\0"
SSH_MAGIC: Final = b"ssh-sk-attest-v01"


class AttestedDevice(Struct, frozen=True, kw_only=True):
    """The model (AAGUID) of a device, and the subject of the recorded root that vouches for it."""

    aaguid: str
    root: str


class _Statement(Struct, frozen=True, kw_only=True):
    """The parts common to both formats."""

    authenticator_data: bytes
    client_data_hash: bytes
    signature: bytes
    certificates: list[bytes]


def attestation_challenge(installation: str, people_key: str, person: str) -> bytes:
    """Return the challenge with which a person makes a key that is to be attested here: 32 bytes."""
    about = {"installation": installation, "people_key": people_key, "person": person}
    return hashlib.sha256(PREFIX + canonical(about)).digest()


def verify_attestation(enrolment: CredentialEnrolment, roots: Sequence[AttestationRoot], at: float) -> AttestedDevice:
    """Return the device that made the enrolled key, by the roots which counted at `at`. Raises Untrusted."""
    credential = enrolment.credential
    challenge = attestation_challenge(enrolment.installation, enrolment.people_key, credential.person)
    statement = _statement(enrolment, challenge)
    registered = read_registered(statement.authenticator_data)
    _check_key(registered, credential)
    anchors = [passkeys.decoded(one.certificate) for one in roots if one.counted_at(at)]
    point, root = verify_chain(statement.certificates, anchors, registered.aaguid, at)
    signed = statement.authenticator_data + statement.client_data_hash
    if not p256.verify(point, signed, statement.signature):
        raise Untrusted("the attestation's signature does not hold: another key, or another challenge")
    return AttestedDevice(aaguid=registered.aaguid.hex(), root=root)


def _statement(enrolment: CredentialEnrolment, challenge: bytes) -> _Statement:
    match enrolment.attestation:
        case SshAttestation(data=data):
            return _ssh_statement(passkeys.decoded(data), challenge)
        case PasskeyAttestation() as attestation:
            return _passkey_statement(attestation, enrolment.credential, challenge)
        case None:
            raise Untrusted("the enrolment has no attestation")
        case _:
            assert_never(enrolment.attestation)


def _ssh_statement(data: bytes, challenge: bytes) -> _Statement:
    reader = Reader(data, "the attestation of ssh-keygen")
    if reader.string() != SSH_MAGIC:
        raise Untrusted(f"not an attestation of `ssh-keygen -O write-attestation` ({SSH_MAGIC.decode()})")
    certificate, signature, wrapped = reader.string(), reader.string(), reader.string()
    if reader.uint32() or reader.string():
        raise Untrusted("the attestation of ssh-keygen has reserved fields, which must be empty")
    reader.end()
    authenticator_data = cbor.read(wrapped)
    if not isinstance(authenticator_data, bytes):
        raise Untrusted("the authenticator data is no CBOR byte string")
    return _Statement(
        authenticator_data=authenticator_data,
        client_data_hash=hashlib.sha256(challenge).digest(),
        signature=signature,
        certificates=[certificate],
    )


def _passkey_statement(attestation: PasskeyAttestation, credential: Credential, challenge: bytes) -> _Statement:
    client_data = passkeys.decoded(attestation.client_data)
    passkeys.check_client_data(client_data, credential, "webauthn.create", challenge)
    match read_attestation_object(passkeys.decoded(attestation.attestation_object)):
        case {
            "fmt": "packed",
            "authData": bytes(authenticator_data),
            "attStmt": {"alg": int(algorithm), "sig": bytes(signature), "x5c": [*certificates], **more},
        } if not more and all(isinstance(one, bytes) for one in certificates):
            if algorithm != ES256:
                raise Untrusted(f"the attestation is signed by algorithm {algorithm}; -7 (ECDSA on P-256) is verified")
            return _Statement(
                authenticator_data=authenticator_data,
                client_data_hash=hashlib.sha256(client_data).digest(),
                signature=signature,
                certificates=certificates,
            )
        case _:
            raise Untrusted("the attestation is not of format packed with its maker's certificates (x5c)")


def read_attestation_object(data: bytes) -> dict[Any, Any]:
    """Return the members `fmt`, `attStmt` and `authData` (WebAuthn level 3, §6.5.4). Raises Untrusted."""
    found = cbor.read(data)
    if not isinstance(found, dict) or set(found) != {"fmt", "attStmt", "authData"}:
        raise Untrusted("not an attestation object of WebAuthn (fmt, attStmt, authData)")
    return found


def _check_key(registered: RegisteredKey, credential: Credential) -> None:
    """Raises Untrusted unless the attested key is the credential's, bound to its device, and made as it is enrolled."""
    if plain_digest(registered.raw) != key_digest(credential):
        raise Untrusted("the attestation is of another key than the credential's")
    if registered.rp_id_hash != hashlib.sha256(_scope(credential)).digest():
        raise Untrusted(f"the attestation is for another RP ID or application than {ascii(_scope(credential))[:100]}")
    if credential.method == "passkey" and passkeys.encoded(registered.credential_id) != credential.credential_id:
        raise Untrusted("the attestation is of another passkey than the credential's")
    if registered.may_be_copied:
        raise Untrusted("the passkey may be copied to other devices, so no device is attested")
    if strength(registered.proof) < strength(credential.proof):
        raise Untrusted(f"the key was made with {registered.proof}, and is to be enrolled for {credential.proof}")


def _scope(credential: Credential) -> bytes:
    if credential.method == "passkey":
        return credential.rp_id.encode()
    return ssh_keys.read(ssh_keys.read_line(credential.key)).application
