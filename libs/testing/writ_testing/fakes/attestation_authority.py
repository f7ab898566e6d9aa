"""A maker of authenticators in software: its root, certificates of devices, and attestations of keys in any state."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from writ_contracts.people.attestations import PasskeyAttestation, SshAttestation
from writ_testing.fakes.security_key import PRESENT, VERIFIED, SoftwareSecurityKey, base64url, ssh_string

AAGUID = bytes(range(16))
AAGUID_OID = ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
ATTESTED_DATA = 0x40


class AttestationAuthority:
    """One certificate and its key: a root by default, else issued by another authority or for a device."""

    def __init__(
        self,
        name: str = "Stand-in Root",
        *,
        issuer: "AttestationAuthority | None" = None,
        ca: bool = True,
        path_length: int | None = None,
        unit: str = "Authenticator Attestation",
        days: tuple[int, int] = (-30, 3650),
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> None:
        """`days`: the first and the last one of its validity, from now."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "SE"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Stand-in Maker"),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        signing = issuer._key if issuer else self._key
        self.certificate: x509.Certificate = builder.sign(signing, SHA256())

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def device(self, aaguid: bytes = AAGUID, **changed: Any) -> "AttestationAuthority":
        """Issue the certificate of a model of devices."""
        named = (x509.UnrecognizedExtension(AAGUID_OID, b"\x04\x10" + aaguid), False)
        return AttestationAuthority("Stand-in Device", issuer=self, **{"ca": False, "extensions": [named], **changed})

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, ec.ECDSA(SHA256()))


def ssh_attestation(
    device: AttestationAuthority, key: SoftwareSecurityKey, challenge: bytes, **changed: Any
) -> SshAttestation:
    """Return the file of `ssh-keygen -O write-attestation -O challenge`. `changed`: of `authenticator_data`."""
    data = authenticator_data(key, b"ssh:", **changed)
    signature = device.sign(data + hashlib.sha256(challenge).digest())
    parts = (b"ssh-sk-attest-v01", device.der, signature, cbor(data))
    whole = b"".join(map(ssh_string, parts)) + bytes(4) + ssh_string(b"")
    return SshAttestation(data=base64url(whole))


def passkey_attestation(
    device: AttestationAuthority,
    key: SoftwareSecurityKey,
    challenge: bytes,
    *,
    chain: Sequence[AttestationAuthority] = (),
    client: dict[str, Any] | None = None,
    statement: dict[str, Any] | None = None,
    form: str = "packed",
    person: str = "alice",
    **changed: Any,
) -> PasskeyAttestation:
    """Return the response of `navigator.credentials.create`. `statement` replaces the attestation statement."""
    members = {"type": "webauthn.create", "challenge": base64url(challenge), "origin": "https://writ.example"}
    client_data = json.dumps({**members, "crossOrigin": False, **(client or {})}).encode()
    data = authenticator_data(key, b"writ.example", **{"credential_id": b"credential of " + person.encode(), **changed})
    signature = device.sign(data + hashlib.sha256(client_data).digest())
    packed = {"alg": -7, "sig": signature, "x5c": [device.der, *(one.der for one in chain)]}
    attested = {"fmt": form, "attStmt": packed if statement is None else statement, "authData": data}
    return PasskeyAttestation(attestation_object=base64url(cbor(attested)), client_data=base64url(client_data))


def registration(attestation: PasskeyAttestation, key: SoftwareSecurityKey, person: str = "alice") -> dict[str, Any]:
    """Return what `PublicKeyCredential.toJSON()` gives in a browser for a new passkey."""
    credential = key.passkey_credential(person)
    response = {
        "clientDataJSON": attestation.client_data,
        "attestationObject": attestation.attestation_object,
        "transports": ["usb"],
        "publicKeyAlgorithm": credential.algorithm,
        "publicKey": credential.key,
    }
    return {"id": credential.credential_id, "rawId": credential.credential_id, "type": "public-key"} | {
        "response": response,
        "clientExtensionResults": {},
        "authenticatorAttachment": "cross-platform",
    }


def authenticator_data(
    key: SoftwareSecurityKey,
    rp_id: bytes,
    *,
    flags: int = PRESENT | VERIFIED,
    aaguid: bytes = AAGUID,
    credential_id: bytes = b"handle",
    extensions: bytes = b"",
) -> bytes:
    """Return the authenticator data of a new key."""
    flags |= ATTESTED_DATA | (0x80 if extensions else 0)
    head = hashlib.sha256(rp_id).digest() + bytes([flags]) + bytes(4)
    return head + aaguid + len(credential_id).to_bytes(2, "big") + credential_id + cbor(key.cose) + extensions


def cbor(value: Any) -> bytes:
    """Encode as authenticators do."""
    match value:
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case list():
            return _head(4, len(value)) + b"".join(map(cbor, value))
        case dict():
            return _head(5, len(value)) + b"".join(cbor(one) + cbor(other) for one, other in value.items())
    raise TypeError(f"no CBOR for {value!r}")


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for info, size in ((24, 1), (25, 2), (26, 4)):
        if number < 1 << (8 * size):
            return bytes([major << 5 | info]) + number.to_bytes(size, "big")
    raise ValueError(number)
