"""A target's own key: a file with the target's name, and beside it an optional certificate.

Read for each connection, so short-lived certificates can be replaced. No target can name the key of another.
"""

from pathlib import Path
from typing import NamedTuple

from writ_bus.private_files import read_private
from writ_contracts.errors import ConfigError, Invalid

MOST_BYTES = 64 * 1024


class Credential(NamedTuple):
    """A private key and its certificate (empty without one), in OpenSSH's format."""

    key: bytes
    certificate: bytes


class Credentials:
    """The keys in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, target: str, *, jump: bool = False) -> Credential:
        """Return the target's key, or with `jump` the key for its jump hosts. Raises Invalid (`no_credentials`)."""
        path = self._folder / (f"{target}.jump" if jump else target)
        certificate = path.with_name(f"{path.name}-cert.pub")
        try:
            signed = certificate.read_bytes()[:MOST_BYTES] if certificate.exists() else b""
            return Credential(read_private(path) + b"\n", signed)
        except ConfigError as error:
            raise Invalid(str(error), code="no_credentials") from error
        except OSError as error:
            raise Invalid(f"{certificate}: can't be read: {error.strerror}", code="no_credentials") from error
