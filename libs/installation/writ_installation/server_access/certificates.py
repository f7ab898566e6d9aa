"""The CA of an installation, and the certificates of its NATS servers (RFC 5280). No file and no clock is read here.

P-256, since clients in every language verify it. A client trusts this CA and no other.
"""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from writ_contracts.errors import ConfigError
from writ_installation.server_access.cluster_certificate import EARLIER, Certificate

CA_VALID = timedelta(days=3650)
SERVER_VALID = timedelta(days=90)
ECDSA_KEYS = ec.EllipticCurvePrivateKey
LONGEST_NAME = 64
"""Of a common name (RFC 5280, ub-common-name)."""


def make_authority(installation: str, now: datetime) -> Certificate:
    """Return a new CA, whose key signs certificates of servers and nothing below them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Writ CA {installation}")
    builder = _builder(name, name, key.public_key(), now, now + CA_VALID)
    certificate = _as_ca(builder, key.public_key()).sign(key, SHA256())
    return Certificate(certificate.public_bytes(Encoding.PEM), _private(key))


def issue(authority: Certificate, names: Sequence[str], now: datetime, until: datetime | None = None) -> Certificate:
    """Return a new key and its certificate for a server with these names and addresses. It lasts SERVER_VALID, or until
    the given time if that is later, and ends with the CA at the latest.
    """
    ca, ca_key = _load(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(max(now + SERVER_VALID, until or now), ca.not_valid_after_utc)
    certificate = (
        _builder(_name("NATS server of Writ"), ca.subject, key.public_key(), now, end)
        .add_extension(x509.SubjectAlternativeName([_general_name(one) for one in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_signer(ca_key), critical=False)
        .sign(ca_key, SHA256())
    )
    return Certificate(certificate.public_bytes(Encoding.PEM), _private(key))


def cross_sign(new: bytes, former: Certificate) -> bytes:
    """Return the new CA's certificate (PEM) as the former CA signs it: who trusts the former one trusts both then."""
    ca, ca_key = _load(former)
    public = x509.load_pem_x509_certificate(new)
    key = public.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ConfigError("it is not a CA of Writ")
    end = min(public.not_valid_after_utc, ca.not_valid_after_utc)
    builder = _builder(public.subject, ca.subject, key, public.not_valid_before_utc + EARLIER, end)
    signed = _as_ca(builder, key, signer=ca_key).sign(ca_key, SHA256())
    return signed.public_bytes(Encoding.PEM)


def period_of(certificate: bytes) -> tuple[datetime, datetime]:
    """Return the begin and the end of the first certificate in this PEM."""
    first = x509.load_pem_x509_certificate(certificate)
    return first.not_valid_before_utc, first.not_valid_after_utc


def is_pair(authority: Certificate) -> bool:
    """Return whether the key is the certificate's."""
    certificate, key = _load(authority)
    return certificate.public_key() == key.public_key()


def _load(authority: Certificate) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(authority.public)
        key = load_pem_private_key(authority.private, None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the CA's certificate or key cannot be read: {error}") from error
    if not isinstance(key, ECDSA_KEYS):
        raise ConfigError("the CA's key is not on the curve P-256")
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(end)
    )


def _as_ca(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey | None = None
) -> x509.CertificateBuilder:
    usage = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    authority = _signer(signer) if signer else x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0 if signer else 1), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(authority, critical=False)
    )


def _signer(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:LONGEST_NAME])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
