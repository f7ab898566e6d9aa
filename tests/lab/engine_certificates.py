"""Certificates for an engine over TLS, as files: an authority, and certificates of engine and client."""

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM
_FORMAT, _PLAIN = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
Key = ec.EllipticCurvePrivateKey


class Authority:
    """An authority without keyUsage, as people make them by hand."""

    def __init__(self, folder: Path, name: str = "engines") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key, self._name = ec.generate_private_key(ec.SECP256R1()), _named(name)
        root = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.pem = self._signed(root)
        self.file = folder / "ca.pem"
        self.file.write_text(self.pem)

    def issue(self, name: str, address: str = "127.0.0.1") -> tuple[Path, Path]:
        """Return a new certificate for the address and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        leaf = self._builder(_named(name), key).add_extension(addresses, critical=False)
        certificate, private = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_text(self._signed(leaf))
        private.write_bytes(key.private_bytes(_PEM, _FORMAT, _PLAIN))
        return certificate, private

    def identity(self, name: str) -> str:
        """Return a new certificate and its key in one text."""
        return "".join(path.read_text() for path in self.issue(name))

    def _builder(self, subject: x509.Name, key: Key) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number())
        return made.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))

    def _signed(self, builder: x509.CertificateBuilder) -> str:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM).decode()


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
