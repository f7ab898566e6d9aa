"""Encryption: to one reader (X25519 sealed box), among the holders of one shared key (XSalsa20-Poly1305), or under a
key for one text (AES-256-GCM).

AES takes a tenth of the time. The key for a text is itself sealed to the reader, or encrypted under the shared key.
"""

import base64
import binascii
import os

import nacl.public
import nacl.secret
from nacl.bindings import crypto_aead_aes256gcm_encrypt
from nacl.exceptions import CryptoError, UnavailableError

from writ_contracts.errors import Unreachable, Untrusted

_KEY_BYTES = 32
_NONCE = bytes(12)
"""Each key encrypts one text, so no nonce is used twice."""
_LARGE_MARK = b"writ.aes\0"
"""The beginning of what `encrypt_large` returns. A random nonce is this one in 2^72 cases."""
_ENCRYPTED_KEY_BYTES = nacl.secret.SecretBox.NONCE_SIZE + nacl.secret.SecretBox.MACBYTES + _KEY_BYTES


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
        return bytes(nacl.public.SealedBox(reader).encrypt(data))  # refuses points of low order, as RFC 7748 permits
    except (CryptoError, ValueError, binascii.Error, TypeError) as error:
        raise Untrusted("not an X25519 public key", code="invalid") from error


def encrypt(key: bytes, data: bytes) -> bytes:
    """Return `data` encrypted under the 32-byte shared `key`, authenticated, with a random nonce in front."""
    return bytes(nacl.secret.SecretBox(key).encrypt(data))


def decrypt(key: bytes, data: bytes) -> bytes:
    """Return the plain bytes of `encrypt` or `encrypt_large`. Raises as `decrypt_once`."""
    if data.startswith(_LARGE_MARK):
        return _decrypt_large(key, data)
    try:
        return bytes(nacl.secret.SecretBox(key).decrypt(data))
    except (CryptoError, ValueError) as error:
        raise Untrusted("encrypted under another key, or damaged", code="invalid") from error


def encrypt_large(key: bytes, data: bytes) -> bytes:
    """Return `data` encrypted under a new key, with that key encrypted under the shared `key` in front, in a tenth of
    the time of `encrypt`. Needs `has_aes`.
    """
    once, encrypted = encrypt_once(data)
    return b"".join((_LARGE_MARK, encrypt(key, once), encrypted))


def _decrypt_large(key: bytes, data: bytes) -> bytes:
    start = len(_LARGE_MARK)
    end = start + _ENCRYPTED_KEY_BYTES
    return decrypt_once(decrypt(key, data[start:end]), data[end:])


def encrypt_once(data: bytes) -> tuple[bytes, bytes]:
    """Return a new key of 32 bytes, and `data` encrypted under it, authenticated. Needs `has_aes`.

    OpenSSL takes 0.1 ms for 1 MB, libsodium 0.3.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - heavy, and for large texts alone

    key = os.urandom(_KEY_BYTES)
    return key, AESGCM(key).encrypt(_NONCE, data, None)


def decrypt_once(key: bytes, data: bytes) -> bytes:
    """Return the plain bytes. Raises Untrusted if the key is another or a bit was changed, and Unreachable without AES:
    the process of another host may have it.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - heavy, and for large texts alone
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - heavy, and for large texts alone

    if len(key) != _KEY_BYTES:
        raise Untrusted("not a key of 32 bytes", code="invalid")
    if not has_aes():
        raise Unreachable("encrypted with AES, which this processor does not have")
    try:
        return AESGCM(key).decrypt(_NONCE, data, None)
    except (InvalidTag, ValueError) as error:
        raise Untrusted("encrypted under another key, or damaged", code="invalid") from error


def has_aes() -> bool:
    """Return whether this processor has AES. Without it libraries leak keys by their timing, or are slow; libsodium
    knows which have it.
    """
    try:
        crypto_aead_aes256gcm_encrypt(b"", None, _NONCE, bytes(_KEY_BYTES))
    except UnavailableError:
        return False
    return True
