"""RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, §8.2; RS256 of COSE, RFC 8812): the algorithm of Windows Hello.

`cryptography` is imported where it is used: it takes 8 MB of each service, and most installations have no such key.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from writ_contracts.errors import Untrusted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

LEAST_BITS, MOST_BITS = 2048, 4096
EXPONENT: Final = 65_537
"""The only one that authenticators use. With a large one each verification would take long."""


def raw_key(modulus: bytes, exponent: bytes) -> bytes:
    """Return the public key in DER (`RSAPublicKey` of RFC 8017). Raises Untrusted."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers  # noqa: PLC0415 - heavy, and seldom used

    n, e = int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")
    _check_numbers(n, e)
    try:
        return as_raw(RSAPublicNumbers(e, n).public_key())
    except ValueError as error:
        raise Untrusted("the numbers are no RSA key") from error


def as_raw(key: "RSAPublicKey") -> bytes:
    """Return the public key in DER (`RSAPublicKey`), the same for one key in any encoding. Raises Untrusted."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - heavy, and seldom used

    numbers = key.public_numbers()
    _check_numbers(numbers.n, numbers.e)
    return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)


def spki(raw: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a key in DER. Raises Untrusted."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - heavy, and seldom used

    return _public_key(raw).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def verify(raw: bytes, data: bytes, signature: bytes) -> bool:
    """Return true if `signature` over `data` is of this key."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - heavy, and seldom used

    try:
        _public_key(raw).verify(signature, data, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=1024)
def _public_key(raw: bytes) -> "RSAPublicKey":
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.serialization import load_der_public_key  # noqa: PLC0415 - heavy, and seldom used

    try:
        key = load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Untrusted("the public key is not one of RSA") from error
    if not isinstance(key, RSAPublicKey) or as_raw(key) != raw:
        raise Untrusted("the public key is not one of RSA")
    return key


def _check_numbers(n: int, e: int) -> None:
    if e != EXPONENT or not LEAST_BITS <= n.bit_length() <= MOST_BITS:
        raise Untrusted(
            f"an RSA key of {n.bit_length()} bits is not taken: it needs {LEAST_BITS} to {MOST_BITS} bits, and the "
            f"exponent {EXPONENT}"
        )
