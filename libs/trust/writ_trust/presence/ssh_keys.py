"""Public keys of security keys as OpenSSH writes them (PROTOCOL.u2f): `sk-ssh-ed25519@openssh.com AAAA…`.

Keys without `sk-` are refused: their private half is a file, which any process of its owner can read and use.
"""

import base64
import binascii

from msgspec import Struct

from writ_contracts.errors import Untrusted
from writ_trust.presence import p256
from writ_trust.presence.ssh_wire import Reader

ED25519 = b"sk-ssh-ed25519@openssh.com"
ECDSA = b"sk-ecdsa-sha2-nistp256@openssh.com"
CURVE = b"nistp256"


class SecurityKey(Struct, frozen=True):
    """The public half: its type, the raw key (32 bytes, or a point of 65), and the application it is bound to."""

    type: bytes
    raw: bytes
    application: bytes


def read_line(line: str) -> bytes:
    """Return the key's bytes from a line of a public key file: type, base64, comment. Raises Untrusted."""
    parts = line.split()
    if len(parts) < 2:
        raise Untrusted("not a line of an OpenSSH public key file: <type> <base64> [comment]")
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Untrusted("the public key is not base64") from error
    if read(blob).type != parts[0].encode():
        raise Untrusted(f"the public key is of another type than {parts[0][:64]!r}")
    return blob


def read(blob: bytes) -> SecurityKey:
    """Return the security key encoded in these bytes. Raises Untrusted."""
    reader = Reader(blob, "the public key")
    kind = reader.string()
    if kind == ED25519:
        raw = reader.string()
        if len(raw) != 32:
            raise Untrusted("an Ed25519 public key has 32 bytes")
    elif kind == ECDSA:
        if reader.string() != CURVE:
            raise Untrusted("the public key is not on the curve nistp256")
        raw = p256.check_point(reader.string())
    else:
        name = ascii(kind[:64].decode("ascii", "replace"))
        raise Untrusted(f"a key of type {name} is not a security key's (sk-ssh-ed25519, sk-ecdsa-sha2-nistp256)")
    application = reader.string()
    reader.end()
    return SecurityKey(kind, raw, application)
