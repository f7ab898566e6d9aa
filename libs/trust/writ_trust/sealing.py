"""Encryption: to one reader (X25519 sealed box), or among the holders of one shared key (XSalsa20-Poly1305)."""

import base64
import binascii

import nacl.public
import nacl.secret
from nacl.exceptions import CryptoError

from writ_contracts.errors import Untrusted


class SealKey:
    """An ephemeral X25519 key: only this object can open data sealed to `public` (base64)."""

    def __init__(self) -> None:
        self._private = nacl.public.PrivateKey.generate()
        self.public = base64.b64encode(bytes(self._private.public_key)).decode()

    def open(self, sealed: bytes) -> bytes:
        """Return the plain bytes; raises Untrusted."""
        try:
            return bytes(nacl.public.SealedBox(self._private).decrypt(sealed))
        except (CryptoError, ValueError) as error:
            raise Untrusted("sealed for another key, or damaged", code="invalid") from error


def seal(public: str, data: bytes) -> bytes:
    """Return `data` sealed for the holder of `public` (base64 X25519); raises Untrusted."""
    try:
        reader = nacl.public.PublicKey(base64.b64decode(public, validate=True))
    except (CryptoError, ValueError, binascii.Error, TypeError) as error:
        raise Untrusted("not an X25519 public key", code="invalid") from error
    return bytes(nacl.public.SealedBox(reader).encrypt(data))


def encrypt(key: bytes, data: bytes) -> bytes:
    """Return `data` encrypted under the 32-byte shared `key`, authenticated, with a random nonce in front."""
    return bytes(nacl.secret.SecretBox(key).encrypt(data))


def decrypt(key: bytes, data: bytes) -> bytes:
    """Return the plain bytes; raises Untrusted if the key is another or a bit was changed."""
    try:
        return bytes(nacl.secret.SecretBox(key).decrypt(data))
    except (CryptoError, ValueError) as error:
        raise Untrusted("encrypted under another key, or damaged", code="invalid") from error
