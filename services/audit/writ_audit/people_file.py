"""The directory of people's credentials for second decisions, read from its file under the pinned people-key.

Audit follows successions of the key as agents do. A version that neither the pinned key nor a successor signed is a
security event, as is one that takes something back, and a damaged file. The last good version stays.
"""

import asyncio
from pathlib import Path

import msgspec

from writ_contracts.errors import Unreachable, Untrusted
from writ_contracts.people.directory import LARGEST_DIRECTORY, PeopleDirectory
from writ_contracts.signing import Signed
from writ_runtime.files.people_directory import directory_in, known_directory
from writ_runtime.files.watched_file import Stamp, stamp
from writ_runtime.journal.security_events import SecurityEvents
from writ_runtime.logs import Log
from writ_trust.statements import read

CHECK_EVERY = 1.0
LARGEST_FILE = 2 * LARGEST_DIRECTORY

_log = Log("writ.audit")


class PeopleFile:
    """`value` returns the version in force here."""

    def __init__(
        self, path: Path | None, people_key: str, state_dir: Path, installation: str, security: SecurityEvents
    ) -> None:
        """`people_key`: as configured. Raises ConfigError for an unusable version kept in `state_dir`."""
        self._path, self._security = path, security
        self._known = known_directory(state_dir, people_key, installation) if people_key else None
        self._stamp: Stamp | None = None
        self._damaged: Stamp | None = None
        """Of the file that was no signed statement at the last look. It may have been half written."""

    def value(self) -> PeopleDirectory | None:
        """Return the newest verified version, or None. Without a pinned key it is the file as it is."""
        if self._known is None:
            return directory_in(self._path)
        directory = self._known.value
        return None if directory is None else read(directory.signed, PeopleDirectory)

    async def run(self) -> None:
        """Read the file again whenever it changed, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(CHECK_EVERY)

    async def refresh(self) -> None:
        """Read the file if it changed. Never raises."""
        if self._known is None or self._path is None or (now := stamp(self._path)) == self._stamp:
            return
        try:
            signed = await asyncio.to_thread(_content, self._path)
            if signed is not None:
                await asyncio.to_thread(self._known.take, signed)
        except Untrusted as error:
            self._security.report("people_refused", f"reported by audit: {error}"[:1000], None, None)
        except msgspec.DecodeError as error:
            if now is None or now != self._damaged:  # it may be half written: read again
                self._damaged = now
                _log.warning("people.not_read", error=str(error)[:1000])
                return
            detail = f"reported by audit: {self._path} is damaged: {error}"
            self._security.report("people_refused", detail[:1000], None, None)
        except (OSError, Unreachable) as error:
            _log.warning("people.not_read", error=str(error)[:1000])
            return
        self._stamp = now


def _content(path: Path) -> Signed | None:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(LARGEST_FILE + 1), type=Signed)
    except FileNotFoundError:
        return None
