"""The keys of `writ login`: a file for each installation and principal, for its owner alone.

The address of its server names an installation whose id is not known here.
"""

import hashlib
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from writ_bus.private_files import read_private
from writ_client.context import Context
from writ_contracts.errors import ConfigError
from writ_documents.atomic_files import write_atomically


class SessionFile(Struct, frozen=True, kw_only=True):
    """A session with its private key."""

    session: str
    principal: str
    installation: str
    seed: str
    until: float
    url: str = ""
    """The server at which it was opened."""


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
        write_atomically(self.path(context), msgspec.json.encode(session))

    def forget(self, context: Context) -> None:
        self.path(context).unlink(missing_ok=True)

    def path(self, context: Context) -> Path:
        """Return the file of the session of the context's principal, whether or not there is one."""
        installation = context.installation or f"at-{hashlib.sha256(context.url.encode()).hexdigest()[:16]}"
        return self._folder / f"{installation}-{context.principal}.json"
