"""The certificate that NATS's servers use: its files, and the record of why it was issued."""

import hashlib
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from writ_contracts.errors import ConfigError
from writ_installation.files.home import Home


class IssuedCertificate(Struct, frozen=True, kw_only=True):
    """The certificate in use: its names, its end, begin and CA's begin in Unix seconds, and the CA's certificates."""

    number: int
    names: list[str]
    ends: float
    chain: str
    begins: float = 0.0
    ca_begins: float = 0.0
    digest: str = ""
    """The SHA-256 of its file, in hex; "" by an older release."""


def issued(home: Home) -> IssuedCertificate | None:
    """Return the certificate in use; None before the first. Raises ConfigError."""
    try:
        known = msgspec.json.decode(state_file(home).read_bytes(), type=IssuedCertificate)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{state_file(home)}: {error}") from error
    return _as_in_file(home, known)


def _as_in_file(home: Home, known: IssuedCertificate) -> IssuedCertificate:
    """Return it with the period of the certificate in its file, which someone may have replaced. Raises ConfigError."""
    path = certificate_file(home, known.number)
    try:
        pem = path.read_bytes()
    except FileNotFoundError:  # NATS names it
        return known
    except OSError as error:
        raise ConfigError(f"{path}: {error}") from error
    if digest_of(pem) == known.digest:
        return known
    from writ_installation.server_access.certificates import period_of  # noqa: PLC0415 - it takes longer than all else

    try:
        begins, ends = period_of(pem)
    except ValueError as error:
        raise ConfigError(f"{path}: it is no certificate: {error}") from error
    return replace(known, begins=begins.timestamp(), ends=ends.timestamp())


def digest_of(pem: bytes) -> str:
    return hashlib.sha256(pem).hexdigest()


def state_file(home: Home) -> Path:
    return home.certificates / "issued.json"


def certificate_file(home: Home, number: int) -> Path:
    return home.certificates / f"server-{number}.pem"


def key_file(home: Home, number: int) -> Path:
    return home.certificates / f"server-{number}.key"
