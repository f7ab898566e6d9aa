"""The keys of `writ login`: a file for each installation and principal, for its owner alone.

The address of its server names an installation whose id is not known here. Earlier releases had one file for all of
these, which is used until its session ends.
"""

import hashlib
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from writ_bus.private_files import read_private
from writ_client.context import Context
from writ_contracts.errors import ConfigError
from writ_documents.atomic_files import write_atomically

_PORTS = {"ws": 80, "wss": 443}
"""Default ports by scheme; that of the others is 4222."""


class SessionFile(Struct, frozen=True, kw_only=True):
    """A session with its private key."""

    session: str
    principal: str
    installation: str
    seed: str
    until: float
    url: str = ""
    """The server at which it was opened."""


def servers(urls: str) -> frozenset[str]:
    """Return the servers of a list with commas, each in one spelling."""
    return frozenset(_server(one.strip()) for one in urls.split(","))


def _server(url: str) -> str:
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        port = parts.port or _PORTS.get(parts.scheme, 4222)
    except ValueError:  # no address, which no connection gets to
        return url
    return f"{parts.scheme}://{parts.hostname}:{port}"


class SessionFiles:
    """The sessions kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, context: Context) -> SessionFile | None:
        """Return the session of the context's principal, unless it has expired by this machine's clock. Raises
        ConfigError for a file that others may read.
        """
        found = self._read(context)
        return found if found is not None and time.time() < found.until else None

    def expired(self, context: Context) -> bool:
        """Return whether a session is kept that has expired by this machine's clock. Raises as `find`."""
        found = self._read(context)
        return found is not None and time.time() >= found.until

    def _read(self, context: Context) -> SessionFile | None:
        path = self.path(context)
        if not path.exists():
            return None
        try:
            return msgspec.json.decode(read_private(path), type=SessionFile)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{path}: {error}; `writ login` writes it again") from error

    def save(self, context: Context, session: SessionFile) -> None:
        """Write the file of a session, instead of an earlier one."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._own(context), msgspec.json.encode(session))

    def forget(self, context: Context) -> None:
        self.path(context).unlink(missing_ok=True)

    def path(self, context: Context) -> Path:
        """Return the file of the session of the context's principal, whether or not there is one."""
        own, earlier = self._own(context), self._folder / f"unnamed-{context.principal}.json"
        return earlier if not context.installation and not own.exists() and earlier.exists() else own

    def _own(self, context: Context) -> Path:
        at = hashlib.sha256(",".join(sorted(servers(context.url))).encode()).hexdigest()[:16]
        return self._folder / f"{context.installation or f'at-{at}'}-{context.principal}.json"
