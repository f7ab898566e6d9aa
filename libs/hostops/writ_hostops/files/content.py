"""The bytes of an opened file: digests, chunks, and the version of a file.

A loop over bytes checks `stop` once a chunk, so a cancel ends it within one chunk.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Optional

from writ_hostops.encoded_text import Buffer
from writ_hostops.errors import HostError, system_errors
from writ_hostops.files.open_beneath import FolderEntry, open_existing, opened_place
from writ_hostops.protocol import OperationCall
from writ_hostops.stop import CancelToken

CHUNK = 128 * 1024
"""Bytes read at once. They stay in the processor's cache until they are digested."""
HASHED_UNASKED = 64 * 1024 * 1024
"""Largest file hashed for the record alone, in bytes; a larger one is hashed only if its digest decides something."""


@dataclass(frozen=True)
class FileFacts:
    """The state of a file at one moment. `digest` is "" if it was not needed and the file is large.

    `version` joins inode, size, modification and change time: equal versions are the same file, unwritten since.
    """

    digest: str
    size: int
    mode: int
    version: str

    def as_state(self) -> Dict[str, Any]:
        """Return the facts for baselines and the `state` of answers, which are on record: no digest of the content."""
        return {
            "exists": True,
            "size": self.size,
            "mode": mode_text(self.mode),
            "version": self.version,
        }


ABSENT: Dict[str, Any] = {"exists": False, "size": 0, "mode": "", "version": ""}


def state_of(facts: Optional[FileFacts]) -> Dict[str, Any]:
    """Return the state of a file that may be absent."""
    return dict(ABSENT) if facts is None else facts.as_state()


def version_at(fd: Optional[int]) -> str:
    """Return the present version of an opened file; "" for None, an absent one, as in `ABSENT`."""
    return "" if fd is None else version_of(os.fstat(fd))


def mode_text(mode: int) -> str:
    """Return permission bits as chmod(1) writes them: "0644"."""
    return f"{mode:04o}"


def version_of(status: os.stat_result) -> str:
    """Return the version of a file, as in FileFacts. Unlike the modification time, its change time cannot be set."""
    return f"{written_version_of(status)}-{status.st_ctime_ns:x}"


def written_version_of(status: os.stat_result) -> str:
    """Return the version without the change time, which a rename changes: for comparisons around a rename."""
    return f"{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"


def chunks(fd: int, stop: Optional[CancelToken]) -> Iterator[bytes]:
    """Yield the file from start to end, at any offset of the descriptor."""
    offset = 0
    while True:
        if stop is not None:
            stop.check()
        chunk = os.pread(fd, CHUNK, offset)
        if not chunk:
            return
        offset += len(chunk)
        yield chunk


def sha256_of(fd: int, stop: Optional[CancelToken]) -> str:
    """Return the SHA-256 of the whole file in hex. `stop` is None once an operation can no longer be stopped."""
    digest = hashlib.sha256()
    for chunk in chunks(fd, stop):
        digest.update(chunk)
    return digest.hexdigest()


def has_content(fd: int, content: Buffer, stop: CancelToken) -> bool:
    """Return whether the whole file has these bytes. It is read up to the first chunk that differs."""
    left = memoryview(content)
    for chunk in chunks(fd, stop):
        if left[: len(chunk)] != chunk:
            return False
        left = left[len(chunk) :]
    return not left


def facts_of(fd: int, stop: CancelToken, always_hash: bool = False, largest: int = HASHED_UNASKED) -> FileFacts:
    """Return the facts of an opened regular file. One larger than `largest` bytes is not hashed."""
    status = os.fstat(fd)
    hashed = always_hash or status.st_size <= largest
    return FileFacts(
        digest=sha256_of(fd, stop) if hashed else "",
        size=status.st_size,
        mode=stat.S_IMODE(status.st_mode),
        version=version_of(status),
    )


def facts_at(place: FolderEntry, stop: CancelToken, largest: int = HASHED_UNASKED) -> Optional[FileFacts]:
    """Return the facts of the file at a place; None if it is absent."""
    fd = open_existing(place)
    if fd is None:
        return None
    try:
        with system_errors(place.path):
            return facts_of(fd, stop, largest=largest)
    finally:
        os.close(fd)


def state_at(call: OperationCall, name: str) -> Dict[str, Any]:
    """Return the state of the file named by the parameter `name`, for a baseline or probe. It has no digest."""
    return state_of(named_facts(call, name, largest=-1))


def named_facts(call: OperationCall, name: str, largest: int = HASHED_UNASKED) -> Optional[FileFacts]:
    """Return the facts of the file named by the parameter `name`; None if it is absent. As in `facts_of`."""
    path = call.parameters.get(name)
    if not isinstance(path, str):
        raise HostError("invalid_parameter", f"parameters.{name} must be a string")
    with opened_place(call.target, path, name) as place:
        return facts_at(place, call.stop, largest)
