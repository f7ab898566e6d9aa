"""Trusted host keys: the target's `host_keys` in the inventory, else the known_hosts file. No key is trusted at first
sight.

The file is read for each connection.
"""

from pathlib import Path
from typing import NamedTuple

import asyncssh

from writ_agent_ssh.connection.algorithms import HOST_CERTIFICATES, HOST_KEYS
from writ_agent_ssh.settings import SshConnection
from writ_contracts.errors import Invalid


class PinnedHostKeys(NamedTuple):
    """For one address: the keys that asyncssh compares with, whether any is pinned, and the algorithms to request
    from the host.
    """

    hosts: asyncssh.SSHKnownHosts
    pinned: bool
    algorithms: list[str]


class KnownHosts:
    """A known_hosts file in OpenSSH's format, with `@cert-authority` and `@revoked`."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def of(self, host: str, port: int, connection: SshConnection | None = None) -> PinnedHostKeys:
        """Return the keys for a target, by its `connection`, or for a jump host (None). Raises Invalid
        (`invalid_known_hosts`).
        """
        lines = list(connection.host_keys) if connection is not None else []
        text = "".join(f"{_entry(line)}\n" for line in lines) or self._read()
        try:
            hosts = asyncssh.import_known_hosts(text)
            keys, authorities, *_ = hosts.match(host, "", port)
        except (ValueError, asyncssh.Error) as error:
            raise Invalid(f"the known hosts cannot be read: {error}", code="invalid_known_hosts") from error
        shown = {name.decode() for key in keys for name in key.sig_algorithms}
        # A certificate that is shown where no authority is known is refused even if the plain key is listed.
        certificates = HOST_CERTIFICATES if authorities else ()
        plain = sorted(HOST_KEYS, key=lambda name: name not in shown)
        return PinnedHostKeys(hosts, bool(keys or authorities), [*certificates, *plain])

    def _read(self) -> str:
        if self._path is None:
            return ""
        try:
            return self._path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"{self._path}: can't be read: {error}", code="invalid_known_hosts") from error


def _entry(line: str) -> str:
    """Return a line of the inventory as one of known_hosts for any host; it is used for this target alone."""
    marker, _, rest = line.partition(" ") if line.startswith("@") else ("", "", line)
    return f"{marker} * {rest}".strip()
