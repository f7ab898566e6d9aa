"""A target's own secrets: a key in a file with the target's name, and beside it a certificate,
passphrase or password where it has one.

Read for each connection, so short-lived certificates can be replaced. No target can name the key of another.
"""

from pathlib import Path
from typing import NamedTuple

from writ_agent_ssh.startup.sudo import Sudo
from writ_bus.private_files import read_private
from writ_contracts.errors import ConfigError, Invalid

MOST_BYTES = 64 * 1024


class SshCredential(NamedTuple):
    """A private key and its certificate (empty without one), in OpenSSH's format. Or the public half of one that the
    ssh-agent at the socket `agent` keeps.
    """

    key: bytes
    certificate: bytes
    passphrase: bytes = b""
    public: bytes = b""
    agent: Path | None = None


class SshCredentials:
    """The keys in one folder."""

    def __init__(self, folder: Path, agent: Path | None = None) -> None:
        """`agent`: the socket of an ssh-agent, for targets with a public key alone in the folder."""
        self._folder, self._agent = folder, agent

    def sudo(self, target: str, user: str) -> Sudo:
        """Return the way to root on the target, with the password in `<target>.sudo` if that file is there. Raises
        Invalid (`no_credentials`).
        """
        return Sudo(user, self._optional(f"{target}.sudo"))

    def of(self, target: str, *, jump: bool = False) -> SshCredential:
        """Return the target's key, or with `jump` the key for its jump hosts. Raises Invalid (`no_credentials`)."""
        name = f"{target}.jump" if jump else target
        path = self._folder / name
        certificate, public = (path.with_name(f"{name}{end}") for end in ("-cert.pub", ".pub"))
        try:
            signed = _read(certificate) if certificate.exists() else b""
            if self._agent is not None and not path.exists() and public.exists():
                return SshCredential(b"", signed, public=_read(public), agent=self._agent)
            return SshCredential(read_private(path) + b"\n", signed, self._optional(f"{name}.passphrase"))
        except ConfigError as error:
            raise Invalid(str(error), code="no_credentials") from error
        except OSError as error:
            raise Invalid(f"{error.filename}: can't be read: {error.strerror}", code="no_credentials") from error

    def _optional(self, name: str) -> bytes:
        """Return the line in a private file; b"" without one."""
        path = self._folder / name
        if not path.exists():
            return b""
        try:
            secret = read_private(path)
        except ConfigError as error:
            raise Invalid(str(error), code="no_credentials") from error
        if not secret or b"\n" in secret or b"\0" in secret:
            raise Invalid(f"{path}: must hold one line", code="no_credentials")
        return secret


def _read(path: Path) -> bytes:
    return path.read_bytes()[:MOST_BYTES]
