"""Ed25519 keys in the form used by NATS (nkeys): one key both connects to the server and signs.

A seed (`SU…`) is private; it is read from a file of mode 0600 by the runtime and never printed.
"""

import base64
import os
from functools import lru_cache

import nacl.signing
import nkeys
from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

from writ_contracts.errors import Invalid


class Key:
    """A private key. `public` is its nkey (`U…`); `sign` signs with Ed25519 (RFC 8032).

    `installation`: the id of the installation for which it signs statements.
    """

    def __init__(self, seed: bytes, installation: str = "") -> None:
        """Read an nkey user seed; raises Invalid (never naming the seed)."""
        try:
            prefix, raw = nkeys.decode_seed(bytearray(seed.strip()))
        except (nkeys.NkeysError, ValueError, IndexError) as error:
            raise Invalid("not an nkey seed (SU…)") from error
        if prefix != nkeys.PREFIX_BYTE_USER:
            raise Invalid("an nkey seed, but not a user's (SU…)")
        self.seed = seed.strip()
        self.installation = installation
        public, self._secret = crypto_sign_seed_keypair(bytes(raw))
        self.public = encode_public(public)

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature over `data`."""
        return crypto_sign(data, self._secret)[:crypto_sign_BYTES]  # SigningKey.sign makes three more copies


def generate_seed() -> bytes:
    """Return a new private key, as an nkey user seed."""
    return bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))


def public_of(seed: bytes) -> str:
    """Return the public half, an nkey, of the 32 bytes of a private key."""
    return encode_public(bytes(nacl.signing.SigningKey(seed).verify_key))


def encode_public(raw: bytes) -> str:
    """Return a 32-byte Ed25519 public key as an nkey (`U…`)."""
    body = bytes([nkeys.PREFIX_BYTE_USER]) + raw
    checked = body + nkeys.crc16(bytearray(body)).to_bytes(2, "little")
    return base64.b32encode(checked).decode().rstrip("=")


def decode_public(public: str) -> bytes:
    """Return the 32 bytes of an nkey user public key; raises Invalid."""
    try:
        data = base64.b32decode(public + "=" * (-len(public) % 8))
    except ValueError as error:
        raise Invalid("not an nkey public key (U…)") from error
    if len(data) != 35 or data[0] != nkeys.PREFIX_BYTE_USER or encode_public(data[1:33]) != public:
        raise Invalid("not an nkey public key (U…)")
    return data[1:33]


def is_public(text: str) -> bool:
    """Return whether the text is an nkey of a user, check sum included. NATS refuses a configuration with any other."""
    try:
        decode_public(text)
    except Invalid:
        return False
    return True


@lru_cache(maxsize=4096)
def _verifier(public: str) -> nacl.signing.VerifyKey:
    return nacl.signing.VerifyKey(decode_public(public))


def verify_raw(raw: bytes, data: bytes, signature: bytes) -> bool:
    """Return true if `signature` over `data` is of the Ed25519 key with these 32 bytes."""
    return verify(encode_public(raw), data, signature)


def verify(public: str, data: bytes, signature: bytes) -> bool:
    """Return whether `signature` over `data` was made with the private half of `public`."""
    try:
        _verifier(public).verify(data, signature)
    except (CryptoError, Invalid, ValueError):
        return False
    return True
