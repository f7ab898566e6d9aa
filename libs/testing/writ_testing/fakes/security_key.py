"""A security key in software: its signatures are those of a device, with any flags, so that tests can clear each.

It shows at the same time why enrolment must settle the worth of a key: nobody can see the difference.
"""

import base64
import hashlib
import json
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from writ_contracts.people.credentials import Credential, PasskeyEvidence, Proof, SshEvidence
from writ_trust.presence.proofs import key_digest

PRESENT, VERIFIED = 0x01, 0x04
NAMESPACE = "writ-approval"
Algorithm = Literal["ed25519", "ecdsa"]
TYPES = {"ed25519": b"sk-ssh-ed25519@openssh.com", "ecdsa": b"sk-ecdsa-sha2-nistp256@openssh.com"}
HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}


class SoftwareSecurityKey:
    """One private key, as a security key of SSH and as a passkey."""

    def __init__(self, algorithm: Algorithm = "ed25519", application: str = "ssh:") -> None:
        self._type = TYPES[algorithm]
        self._ed25519 = ed25519.Ed25519PrivateKey.generate() if algorithm == "ed25519" else None
        self._ecdsa = ec.generate_private_key(ec.SECP256R1())
        self._application = application.encode()
        self._counter = 0

    # SSH

    @property
    def line(self) -> str:
        """The line of its public key file."""
        return f"{self._type.decode()} {base64.b64encode(self.blob).decode()} stand-in"

    @property
    def id(self) -> str:
        """The id of its credential: the digest of its raw public key."""
        return key_digest(self.ssh_credential())

    async def sign(self, data: bytes) -> SshEvidence:
        """Sign as `writ_client.people.approvals.Signer`, with touch and PIN."""
        return self.sign_ssh(data, counter=self.next_counter())

    def next_counter(self) -> int:
        """Count one more signature, as a device does."""
        self._counter += 1
        return self._counter

    def ssh_credential(self, person: str = "alice", proof: Proof = "verified") -> Credential:
        """Return the credential that an enrolment records."""
        return Credential(id=f"{person}-ssh", person=person, method="ssh", key=self.line, proof=proof)

    def sign_ssh(
        self,
        data: bytes,
        *,
        flags: int = PRESENT | VERIFIED,
        namespace: str = NAMESPACE,
        reserved: bytes = b"",
        algorithm: str = "sha512",
        counter: int = 7,
    ) -> SshEvidence:
        """Return what `ssh-keygen -Y sign` writes (PROTOCOL.sshsig, PROTOCOL.u2f)."""
        hashed = HASHES[algorithm](data).digest()
        parts = b"".join(map(ssh_string, (namespace.encode(), reserved, algorithm.encode())))
        plain = b"".join(map(ssh_string, (namespace.encode(), b"", algorithm.encode(), hashed)))
        signature = self.token_signature(b"SSHSIG" + plain, flags=flags, counter=counter)
        whole = b"SSHSIG" + (1).to_bytes(4, "big") + ssh_string(self.blob) + parts + ssh_string(signature)
        return SshEvidence(armored=armored(whole))

    def token_signature(self, data: bytes, *, flags: int = PRESENT | VERIFIED, counter: int = 7) -> bytes:
        """Return the device's signature of a message, in the form of the SSH protocols."""
        tail = bytes([flags]) + counter.to_bytes(4, "big")
        signed = _sha256(self._application) + tail + _sha256(data)
        return ssh_string(self._type) + ssh_string(self._raw_signature(signed)) + tail

    def _raw_signature(self, signed: bytes) -> bytes:
        if self._ed25519:
            return self._ed25519.sign(signed)
        r, s = decode_dss_signature(self._ecdsa.sign(signed, ec.ECDSA(SHA256())))
        return _mpint(r) + _mpint(s)

    @property
    def blob(self) -> bytes:
        """The public key in SSH's encoding."""
        if self._ed25519:
            body = ssh_string(self._ed25519.public_key().public_bytes_raw())
        else:
            point = self._ecdsa.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            body = ssh_string(b"nistp256") + ssh_string(point)
        return ssh_string(self._type) + body + ssh_string(self._application)

    # WebAuthn

    @property
    def _passkey(self) -> ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
        return self._ed25519 or self._ecdsa

    @property
    def cose(self) -> dict[int, Any]:
        """The public key as COSE_Key."""
        if self._ed25519:
            return {1: 1, 3: -8, -1: 6, -2: self._ed25519.public_key().public_bytes_raw()}
        point = self._ecdsa.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]}

    def passkey_credential(self, person: str = "alice", proof: Proof = "verified") -> Credential:
        """Return the credential that an enrolment records."""
        key = self._passkey.public_key()
        return Credential(
            id=f"{person}-passkey",
            person=person,
            method="passkey",
            key=base64url(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
            proof=proof,
            credential_id=base64url(b"credential of " + person.encode()),
            algorithm=self.cose[3],
            rp_id="writ.example",
            origins=["https://writ.example"],
        )

    def assertion(
        self,
        data: bytes,
        *,
        person: str = "alice",
        flags: int = PRESENT | VERIFIED,
        rp_id: str = "writ.example",
        extensions: bytes = b"",
        client: dict[str, Any] | None = None,
        client_data: bytes | None = None,
    ) -> PasskeyEvidence:
        """Return what a browser hands out for `navigator.credentials.get`. `client` replaces members of the client
        data.
        """
        members = {"type": "webauthn.get", "challenge": base64url(_sha256(data)), "origin": "https://writ.example"}
        client_json = client_data or json.dumps({**members, "crossOrigin": False, **(client or {})}).encode()
        head = _sha256(rp_id.encode()) + bytes([flags]) + (9).to_bytes(4, "big") + extensions
        return PasskeyEvidence(
            credential_id=base64url(b"credential of " + person.encode()),
            authenticator_data=base64url(head),
            client_data=base64url(client_json),
            signature=base64url(self._signature(head + _sha256(client_json))),
        )

    def _signature(self, signed: bytes) -> bytes:
        return self._ed25519.sign(signed) if self._ed25519 else self._ecdsa.sign(signed, ec.ECDSA(SHA256()))


class RsaPasskey(SoftwareSecurityKey):
    """A passkey as Windows Hello makes it (RS256). SSH has no such security key."""

    def __init__(self, bits: int = 2048, exponent: int = 65537) -> None:
        super().__init__()
        self._rsa = rsa.generate_private_key(exponent, bits)

    @property
    def _passkey(self) -> rsa.RSAPrivateKey:
        return self._rsa

    @property
    def cose(self) -> dict[int, Any]:
        """The public key as COSE_Key (RFC 8230, section 4)."""
        numbers = self._rsa.public_key().public_numbers()
        n, e = (one.to_bytes((one.bit_length() + 7) // 8, "big") for one in (numbers.n, numbers.e))
        return {1: 3, 3: -257, -1: n, -2: e}

    def _signature(self, signed: bytes) -> bytes:
        return self._rsa.sign(signed, PKCS1v15(), SHA256())


def ssh_string(data: bytes) -> bytes:
    """Return a `string` of SSH (RFC 4251, section 5)."""
    return len(data).to_bytes(4, "big") + data


def armored(blob: bytes) -> str:
    """Return an SSH signature as it is written to a file."""
    text = base64.b64encode(blob).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def unarmored(text: str) -> bytes:
    """Return the bytes of an SSH signature."""
    return base64.b64decode("".join(text.splitlines()[1:-1]))


def base64url(data: bytes) -> str:
    """Encode bytes as base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _mpint(value: int) -> bytes:
    return ssh_string(value.to_bytes(value.bit_length() // 8 + 1, "big"))
