"""The directory of people's credentials as one process knows it: the newest version it has seen, kept on disk.

A version which takes something back is refused, also after a restart. Without a pinned people-key there is no
directory, and no proof of presence counts.
"""

from collections.abc import Collection
from pathlib import Path
from threading import Lock

import msgspec

from writ_contracts.errors import ConfigError, Unreachable, Untrusted
from writ_contracts.people.directory import PeopleDirectory
from writ_contracts.signing import Signed
from writ_runtime.files.state_file import StateFile
from writ_runtime.logs import Log
from writ_trust.people import BAD, Directory, check_successor, open_directory
from writ_trust.statements import digest, read

FILE = "people.json"
_log = Log("writ.people")


class KnownDirectory:
    """`value`: the newest verified version, None before the first."""

    def __init__(self, file: StateFile[Signed], people_keys: Collection[str], installation: str) -> None:
        """`people_keys`: pinned public keys. `installation`: its id. Raises ConfigError where the file is unusable."""
        self._file = file
        self._people_keys = frozenset(people_keys)
        self._installation = installation
        self._taking = Lock()
        """Versions come in several threads, and the last one to be taken must be the newest."""
        kept = self._kept(file.read())
        pinned = kept is not None and bool(self._people_keys.intersection(kept.keys))
        self.value: Directory | None = kept if pinned else None
        self._is_stored = True
        """Whether `value` is on disk. Until it is, a restart would forget it and accept what it takes back."""
        self._before = None if pinned else kept
        """Kept under a people-key that is not pinned any more: a version whose key follows it still may not take
        anything back. Another key begins a directory of its own.
        """

    @property
    def pinned(self) -> bool:
        """Return whether a people-key is pinned, without which no directory is taken."""
        return bool(self._people_keys)

    def newest(self, signed: Signed) -> Directory:
        """Return the newer one of this version and the known one, which has to follow it. Raises as `take`."""
        with self._taking:
            known = self.value
            if known is not None and digest(signed) != known.name.digest:
                directory = open_directory(signed.detached(), self._people_keys, self._installation)
                if directory.name.number < known.name.number:
                    check_successor(known, directory)
                    return known
            return self._take(signed)

    def take(self, signed: Signed) -> Directory:
        """Return this version, verified and remembered. Raises Untrusted (`bad_directory`) for one with a bad signature
        or with something taken back, Unreachable where it cannot be stored.
        """
        with self._taking:
            return self._take(signed)

    def _take(self, signed: Signed) -> Directory:
        known = self.value
        if known is not None and digest(signed) == known.name.digest and signed == known.signed:
            if not self._is_stored:  # the disk was full
                self._remember(known)
            return known
        if not self._people_keys:
            raise Untrusted("no people-key is pinned here (WRIT_PEOPLE_KEY), so no credential counts", code=BAD)
        taken = open_directory(signed.detached(), self._people_keys, self._installation)
        if known is None and self._before is not None and self._before.keys[-1] in taken.keys:
            known = self._before
        if known is not None:
            check_successor(taken, known)
        self.value = taken  # before it is kept: a removal counts also where the disk is full
        if known is None or taken.name != known.name:
            self._is_stored = False
        if not self._is_stored:
            self._remember(taken)
        return taken

    def _remember(self, taken: Directory) -> None:
        try:
            self._file.write(taken.signed)
        except OSError as error:
            raise Unreachable(f"the directory of people's credentials cannot be stored here: {error}") from error
        self._is_stored = True
        fields = {"number": taken.name.number, "posture": taken.posture, "credentials": len(taken.entries)}
        _log.info("people.directory", **fields)

    def _kept(self, signed: Signed | None) -> Directory | None:
        if signed is None:
            return None
        try:
            return open_directory(signed, [signed.key], self._installation)
        except Untrusted as error:
            raise ConfigError(f"the directory of people's credentials stored here cannot be used: {error}") from error


def known_directory(state_dir: Path, people_key: str, installation: str) -> KnownDirectory:
    """Return the directory kept in this folder. `people_key`: as configured."""
    return KnownDirectory(StateFile(state_dir / FILE, Signed), people_keys(people_key), installation)


def people_keys(text: str) -> frozenset[str]:
    """Return the pinned keys of a configuration: none, one, or several during a replacement."""
    return frozenset(key.strip() for key in text.split(",") if key.strip())


def directory_in(path: Path | None) -> PeopleDirectory | None:
    """Return the directory in a file of the folder that policy reads too; None without a usable file. Its signature is
    not verified.
    """
    if path is None:
        return None
    try:
        return read(msgspec.json.decode(path.read_bytes(), type=Signed), PeopleDirectory)
    except (OSError, msgspec.DecodeError, Untrusted):
        return None
