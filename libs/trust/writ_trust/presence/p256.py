"""ECDSA on the curve P-256 with SHA-256 (FIPS 186-5), the other algorithm of security keys besides Ed25519.

`cryptography` is imported where it is used: it takes 8 MB of each service, and most installations have no such key.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from writ_contracts.errors import Untrusted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

POINT_BYTES = 65


@lru_cache(maxsize=1024)
def _public_key(point: bytes) -> "EllipticCurvePublicKey":
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - heavy, and seldom used

    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise Untrusted("the public key is not a point of the curve P-256") from error


def check_point(point: bytes) -> bytes:
    """Return the uncompressed point of a public key. Raises Untrusted where it is none of the curve."""
    if len(point) != POINT_BYTES:
        raise Untrusted("the public key is not an uncompressed point of the curve P-256")
    _public_key(point)
    return point


def verify(point: bytes, data: bytes, signature: bytes) -> bool:
    """Return true if `signature` (DER) over `data` is of the key with this point."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - heavy, and seldom used

    try:
        _public_key(point).verify(signature, data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def as_der(r: int, s: int) -> bytes:
    """Return a signature in DER from its two numbers."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature  # noqa: PLC0415 - heavy, and seldom used

    return encode_dss_signature(r, s)
