"""Authenticator data of a registration (WebAuthn level 3, §6.1): which device made which key, and how."""

from typing import Any, Final

from msgspec import Struct

from writ_contracts.errors import Untrusted
from writ_contracts.people.credentials import Algorithm, Proof
from writ_trust.presence import cbor, p256, rsa
from writ_trust.presence.flags import proof_of

HEAD_BYTES: Final = 37
"""SHA-256 of the RP ID, flags, counter."""
BACKUP_ELIGIBLE, BACKED_UP, ATTESTED, EXTENDED = 0x08, 0x10, 0x40, 0x80
EDDSA: Final = -8
ES256: Final = -7
RS256: Final = -257
ID_END: Final = HEAD_BYTES + 18
"""AAGUID of 16 bytes, and the length of the credential id."""


class RegisteredKey(Struct, frozen=True, kw_only=True):
    """A new key as its authenticator describes it. `aaguid` names the model, `raw` is as in `passkeys.public_key`."""

    rp_id_hash: bytes
    flags: int
    aaguid: bytes
    credential_id: bytes
    algorithm: Algorithm
    raw: bytes

    @property
    def proof(self) -> Proof:
        """The presence with which the key was made. Raises Untrusted where nobody touched the device."""
        return proof_of(self.flags)

    @property
    def may_be_copied(self) -> bool:
        """Return true for a passkey that its provider may sync to other devices."""
        return bool(self.flags & BACKUP_ELIGIBLE)


def read_registered(data: bytes) -> RegisteredKey:
    """Return the new key. Raises Untrusted."""
    if len(data) < ID_END or not data[32] & ATTESTED:
        raise Untrusted("the authenticator data is not that of a new key")
    flags = data[32]
    end = ID_END + int.from_bytes(data[ID_END - 2 : ID_END], "big")
    key, rest = cbor.read_first(data[end:])
    if bool(flags & EXTENDED) is not bool(rest):
        raise Untrusted("the authenticator data has extensions without their flag, or the flag without extensions")
    if rest:
        cbor.read(rest)
    algorithm, raw = _public_key(key)
    return RegisteredKey(
        rp_id_hash=data[:32],
        flags=flags,
        aaguid=data[HEAD_BYTES : HEAD_BYTES + 16],
        credential_id=data[ID_END:end],
        algorithm=algorithm,
        raw=raw,
    )


def _public_key(key: Any) -> tuple[Algorithm, bytes]:
    """Return algorithm and raw key of a COSE_Key (RFC 9053, §7; RFC 8230, §4): Ed25519, a point of P-256, or RSA."""
    match key:
        case {1: 1, 3: -8, -1: 6, -2: bytes(x)} if len(x) == 32:
            return EDDSA, x
        case {1: 2, 3: -7, -1: 1, -2: bytes(x), -3: bytes(y)} if len(x) == len(y) == 32:
            return ES256, p256.check_point(b"\x04" + x + y)
        case {1: 3, 3: -257, -1: bytes(n), -2: bytes(e)}:
            return RS256, rsa.raw_key(n, e)
        case _:
            raise Untrusted("the new key is none of Ed25519 (-8), ECDSA on P-256 (-7) and RSA with SHA-256 (-257)")
