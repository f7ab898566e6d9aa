"""Copies of inventory.yaml and principals.yaml by their digest, with the time in which each was in place.

A decision names the digests of its files, and the files themselves have only their present content.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct, structs

from writ_documents import atomic_files
from writ_documents.document import FileErrors
from writ_documents.readers import LARGEST_LIST
from writ_documents.yaml_file import content

Reading = TypeVar("Reading")
MOST = 200
"""Copies of each file; the oldest is dropped first."""


class FileVersion(Struct, frozen=True, kw_only=True):
    """One content of a file: not there before `since` (Unix seconds; 0: perhaps always), and not after `until`."""

    digest: str
    since: float
    until: float | None = None

    def was_there(self, at: float, slack: float, latest: float | None = None) -> bool:
        """Return whether the file had this content within `slack` seconds of that time, or between it and `latest`."""
        return self.since - slack <= (latest or at) and (self.until is None or at <= self.until + slack)


class FileHistory:
    """The contents of one file, in a folder."""

    def __init__(self, folder: Path, path: Path) -> None:
        self._folder, self._path = folder, path
        self._index = folder / f"{path.stem}.json"
        self._stamp: object = None
        self._looked: float | None = None
        """When this process last read the file with its latest content; None before the first read."""
        self.versions: list[FileVersion] = self._read()

    def _read(self) -> list[FileVersion]:
        """Return the known versions; an unusable index is as none, since every copy is found again by its digest."""
        try:
            return msgspec.json.decode(self._index.read_bytes(), type=list[FileVersion])
        except (OSError, msgspec.DecodeError):
            return []

    @property
    def name(self) -> str:
        return self._path.name

    @property
    def changed_at(self) -> float:
        """Return since when the file may have its latest content; 0: perhaps always."""
        return self.versions[-1].since if self.versions else 0.0

    def record_change(self, now: float, stamp: object = None) -> None:
        """Keep the present content, if it is another than the last one. Raises ConfigError where it can't be read.

        `stamp`: a value that changes with the file; with the same one as before nothing is read.
        """
        if stamp is None or stamp != self._stamp:
            data = content(self._path, largest=LARGEST_LIST)
            digest = hashlib.sha256(data).hexdigest()
            if not self.versions or self.versions[-1].digest != digest:
                self._add(data, digest, now)
        self._stamp, self._looked = stamp, now

    def _add(self, data: bytes, digest: str, now: float) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_files.save(self._copy(digest), data)
        since, versions = 0.0, self.versions.copy()
        if versions:
            former = versions[-1]
            since = former.since if self._looked is None else self._looked
            versions[-1] = structs.replace(former, until=now)
        versions.append(FileVersion(digest=digest, since=since))
        self.versions = versions[-MOST:]  # at once: another thread may be reading them
        for one in versions[:-MOST]:
            self._copy(one.digest).unlink(missing_ok=True)
        atomic_files.save(self._index, msgspec.json.encode(self.versions))

    def _copy(self, digest: str) -> Path:
        return self._folder / f"{self._path.stem}-{digest}.yaml"

    def named(self, digest: str, at: float, slack: float, latest: float | None = None) -> bool | None:
        """Return whether the file had this content at that time, or between it and `latest`; None where it never was
        seen with it.
        """
        known = [one for one in self.versions if one.digest == digest]
        return any(one.was_there(at, slack, latest) for one in known) if known else None

    def around(self, at: float, slack: float) -> list[str]:
        """Return the digests of the contents at that time; of the first one known for an earlier time."""
        versions = self.versions
        return [one.digest for one in versions if one.was_there(at, slack)] or [one.digest for one in versions[:1]]

    def copy(self, digest: str) -> Path | None:
        """Return the file with this content, if it still has it."""
        path = self._copy(digest)
        try:
            data = content(path, largest=LARGEST_LIST)
        except FileErrors:
            return None
        return path if hashlib.sha256(data).hexdigest() == digest else None


class KeptReading(Generic[Reading]):
    """The last content of a file that was read, kept: nearly all decisions name the same one."""

    def __init__(self, history: FileHistory, read: Callable[[Path], Reading]) -> None:
        self._history, self._read = history, read
        self._kept: tuple[str, Reading] | None = None

    def of(self, digest: str) -> Reading | None:
        """Return the content with this digest, read; None if the history does not have it any more."""
        if self._kept is None or self._kept[0] != digest:
            path = self._history.copy(digest)
            if path is None:
                return None
            self._kept = digest, self._read(path)
        return self._kept[1]
