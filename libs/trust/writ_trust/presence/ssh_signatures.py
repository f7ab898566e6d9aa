"""Signatures of `ssh-keygen -Y sign` by a security key (OpenSSH PROTOCOL.sshsig and PROTOCOL.u2f).

The device signs SHA-256(application) ‖ flags ‖ counter ‖ SHA-256(message), where the message is SSHSIG's own: the
namespace and the hash of the signed bytes. `ssh-keygen -Y verify` checks the same signature but no flags.
"""

import base64
import binascii
import hashlib

from writ_contracts.errors import Untrusted
from writ_contracts.people.credentials import SSH_NAMESPACE, Proof
from writ_trust.keys import verify_raw
from writ_trust.presence import p256
from writ_trust.presence.flags import proof_of
from writ_trust.presence.ssh_keys import ED25519, SecurityKey, read
from writ_trust.presence.ssh_wire import Reader, string

MAGIC = b"SSHSIG"
VERSION = 1
HASHES = {b"sha512": hashlib.sha512, b"sha256": hashlib.sha256}
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


def verify(armored: str, key: bytes, data: bytes) -> tuple[Proof, int]:
    """Return the proof and the device's counter of a signature over `data` by this public key. Raises Untrusted."""
    reader = Reader(_without_armor(armored), "the SSH signature")
    if reader.take(len(MAGIC)) != MAGIC or reader.uint32() != VERSION:
        raise Untrusted("not an SSH signature of version 1")
    if reader.string() != key:
        raise Untrusted("the SSH signature was made by another key than the credential's")
    message = _message(reader, data)
    signature = reader.string()
    reader.end()
    return _check(read(key), signature, message)


def _message(reader: Reader, data: bytes) -> bytes:
    """Return the signed form of `data`, with namespace and hash as named by the signature."""
    namespace, reserved, algorithm = reader.string(), reader.string(), reader.string()
    if namespace != SSH_NAMESPACE.encode():
        raise Untrusted(f"the SSH signature is for another namespace than {SSH_NAMESPACE}: `ssh-keygen -Y sign -n`")
    if reserved:
        raise Untrusted("the SSH signature has a reserved field, which must be empty")
    if algorithm not in HASHES:
        raise Untrusted("the SSH signature has another hash than sha512 or sha256")
    return MAGIC + b"".join(map(string, (namespace, b"", algorithm, HASHES[algorithm](data).digest())))


def _check(key: SecurityKey, blob: bytes, message: bytes) -> tuple[Proof, int]:
    reader = Reader(blob, "the security key's signature")
    if reader.string() != key.type:
        raise Untrusted("the signature is of another type than the public key")
    signature, flags, counter = reader.string(), reader.take(1), reader.take(4)
    reader.end()
    application, hashed = hashlib.sha256(key.application).digest(), hashlib.sha256(message).digest()
    if not _holds(key, signature, application + flags + counter + hashed):
        raise Untrusted("the SSH signature is not valid for the statement")
    return proof_of(flags[0]), int.from_bytes(counter, "big")


def _holds(key: SecurityKey, signature: bytes, signed: bytes) -> bool:
    if key.type == ED25519:
        return verify_raw(key.raw, signed, signature)
    reader = Reader(signature, "the ECDSA signature")
    der = p256.as_der(reader.number(), reader.number())
    reader.end()
    return p256.verify(key.raw, signed, der)


def _without_armor(armored: str) -> bytes:
    lines = armored.strip().splitlines()
    if len(lines) < 3 or lines[0] != BEGIN or lines[-1] != END:
        raise Untrusted(f"not an SSH signature: it begins with {BEGIN}")
    text = "".join(lines[1:-1])
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Untrusted("the SSH signature is not base64") from error
    if base64.b64encode(data).decode() != text:
        raise Untrusted("the SSH signature is not base64 in its only form")
    return data
