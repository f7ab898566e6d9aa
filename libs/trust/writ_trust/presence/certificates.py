"""Certificates of makers of authenticators (RFC 5280; WebAuthn level 3, §8.2.1), up to one that the directory records.

`cryptography` is imported where it is used: it takes 8 MB of each service, and most installations have no attestation.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from writ_contracts.errors import Untrusted

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

T = TypeVar("T")
MOST_CERTIFICATES: Final = 4
AAGUID_OID: Final = "1.3.6.1.4.1.45724.1.1.4"
"""id-fido-gen-ce-aaguid."""
KNOWN_CRITICAL: Final = frozenset({"2.5.29.15", "2.5.29.19"})
"""Key usage and basic constraints. A critical extension that is not understood refuses its certificate."""
HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
SUBJECT: Final = ("2.5.4.6", "2.5.4.10", "2.5.4.11", "2.5.4.3")
"""Country, organisation, unit and name of the device certificate."""
UNIT: Final = "Authenticator Attestation"


class UnknownMaker(Untrusted):
    """Raised where no recorded root issued the certificates of a device."""


def fingerprint(data: bytes) -> str:
    """Return the SHA-256 of a certificate in DER."""
    return hashlib.sha256(data).hexdigest()


def der_of(data: bytes) -> bytes:
    """Return a certificate of a file, in PEM or DER, as DER. Raises Untrusted."""
    from cryptography import x509  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - heavy, and seldom used

    if not data.lstrip().startswith(b"-----BEGIN"):
        return data
    with _parsing():
        certificates = x509.load_pem_x509_certificates(data)
    if len(certificates) != 1:
        raise Untrusted(f"the file has {len(certificates)} certificates: record them one by one")
    return certificates[0].public_bytes(Encoding.DER)


def read_authority(data: bytes) -> str:
    """Return the subject of a maker's certificate authority in DER. Raises Untrusted where it may issue nothing."""
    with _parsing():
        certificate = _loaded(data)
        _check_authority(certificate, below=0)
        return certificate.subject.rfc4514_string()


def verify_chain(chain: Sequence[bytes], roots: Sequence[bytes], aaguid: bytes, at: float) -> tuple[bytes, str]:
    """Return the P-256 point of the device certificate `chain[0]` and the subject of the recorded root it leads to.

    Each certificate has to be valid at `at` and issued by the next one. Raises Untrusted.
    """
    if not 1 <= len(chain) <= MOST_CERTIFICATES:
        raise Untrusted(f"the attestation has {len(chain)} certificates, from 1 to {MOST_CERTIFICATES} are read")
    with _parsing():
        return _verify_chain([_loaded(one) for one in chain], [_loaded(one) for one in roots], aaguid, at)


def _verify_chain(
    chain: Sequence["Certificate"], anchors: Sequence["Certificate"], aaguid: bytes, at: float
) -> tuple[bytes, str]:
    moment = datetime.fromtimestamp(at, UTC)
    _check_device(chain[0], aaguid)
    _check_valid(chain[0], moment)
    for place, certificate in enumerate(chain):
        issuer = next((one for one in (*anchors, *chain[place + 1 : place + 2]) if _issued(certificate, one)), None)
        if issuer is None:
            raise UnknownMaker(f"no recorded root issued {_name(certificate)}: `writ credential root add`")
        _check_authority(issuer, below=place)
        _check_valid(issuer, moment)
        if issuer in anchors:
            return _point(chain[0]), _name(issuer)
    raise AssertionError("the last certificate has an issuer only among the recorded roots")


@contextmanager
def _parsing() -> Iterator[None]:
    """Turn the errors of `cryptography` into Untrusted: it parses most of a certificate where it is first used."""
    from cryptography import x509  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - heavy, and seldom used

    unknown = (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)
    try:
        yield
    except (ValueError, TypeError, *unknown) as error:  # TypeError: a name whose value is a BIT STRING
        raise Untrusted(f"not a certificate in DER (X.509): {str(error)[:200]}") from error


def _loaded(data: bytes) -> "Certificate":
    from cryptography import x509  # noqa: PLC0415 - heavy, and seldom used

    certificate = x509.load_der_x509_certificate(data)
    critical = {one.oid.dotted_string for one in certificate.extensions if one.critical}
    if unknown := sorted(critical - KNOWN_CRITICAL):
        raise Untrusted(f"a certificate has the critical extension {unknown[0]}, which is not understood")
    return certificate


def _issued(certificate: "Certificate", issuer: "Certificate") -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415 - heavy, and seldom used

    try:
        algorithm = certificate.signature_hash_algorithm
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False  # other names, another kind of key, or another key
    return algorithm is None or algorithm.name in HASHES  # Ed25519 has no hash of its own


def _check_authority(certificate: "Certificate", *, below: int) -> None:
    """Raises Untrusted unless the certificate may issue others, with `below` authorities between it and the device."""
    from cryptography import x509  # noqa: PLC0415 - heavy, and seldom used

    basic = _extension(certificate, x509.BasicConstraints)
    if basic is None or not basic.ca:
        raise Untrusted(f"the certificate of {_name(certificate)} is not one of a certificate authority")
    if basic.path_length is not None and basic.path_length < below:
        raise Untrusted(f"{_name(certificate)} may not issue a chain of this length")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise Untrusted(f"the key of {_name(certificate)} may not sign certificates")


def _check_device(certificate: "Certificate", aaguid: bytes) -> None:
    """Raises Untrusted unless it is a certificate for attestations, of this model where it names one."""
    from cryptography import x509  # noqa: PLC0415 - heavy, and seldom used

    names = {one.oid.dotted_string: one.value for one in certificate.subject}
    if certificate.version is not x509.Version.v3 or not all(names.get(one) for one in SUBJECT):
        raise Untrusted("the device certificate lacks version 3, or country, organisation, unit or name")
    if names["2.5.4.11"] != UNIT:
        raise Untrusted(f"the device certificate's unit is not {UNIT!r}")
    basic = _extension(certificate, x509.BasicConstraints)
    if basic is None or basic.ca:
        raise Untrusted("the device certificate is one of a certificate authority, or does not say that it is none")
    for one in certificate.extensions:
        if one.oid.dotted_string != AAGUID_OID:
            continue
        value = one.value.value if isinstance(one.value, x509.UnrecognizedExtension) else b""
        if value != b"\x04\x10" + aaguid:  # an OCTET STRING of 16 bytes
            raise Untrusted("the device certificate is of another model (AAGUID) than the new key's device")


def _check_valid(certificate: "Certificate", moment: datetime) -> None:
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise Untrusted(f"the certificate of {_name(certificate)} was not valid at {moment:%Y-%m-%d}")


def _point(certificate: "Certificate") -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - heavy, and seldom used
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - heavy, and seldom used

    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Untrusted("the key of the device certificate is not one of ECDSA on P-256")
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _extension(certificate: "Certificate", kind: type[T]) -> T | None:
    return next((one.value for one in certificate.extensions if isinstance(one.value, kind)), None)


def _name(certificate: "Certificate") -> str:
    return certificate.subject.rfc4514_string()[:200]
