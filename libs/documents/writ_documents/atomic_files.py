"""Files replaced or created as a whole: a reader sees the old content or the new, never a part."""

import os
import secrets
import stat
from pathlib import Path

DRAFT = ".draft"  # how the name of a file ends that is being written and will be put in another's place


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write all of it or nothing, also for concurrent readers; the folder must exist."""
    draft = path.with_name(f".{path.name}.{os.getpid()}{DRAFT}")
    descriptor = _new_file(draft, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask is
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)  # a part of it, on a disk that is full
        if error.filename is None:  # a failed write names no file, and readers of "no space left" need to know where
            error.filename = str(path)
        raise


def _new_file(path: Path, mode: int) -> int:
    """Return a descriptor of a new file. One of this name is removed, as a killed process of the same id left it.

    It is never written to: in a shared folder another user could put a link or a file there, and read what is written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        return os.open(path, flags, mode)
    except FileExistsError:
        path.unlink()
        return os.open(path, flags, mode)


def create_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """As `write_atomically`, for a new file: FileExistsError where there is one, so only one of several writers
    succeeds.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}{DRAFT}")
    try:
        write_atomically(draft, data, mode)
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in it durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save(path: Path, data: bytes) -> None:
    """Write a file for its owner alone; in a folder shared with a group (set-group-ID), readable for the group too.

    So never a private key: `write_atomically`, or `create_atomically`.
    """
    write_atomically(path, data, _mode(path))


def create(path: Path, data: bytes) -> None:
    """As `save`, for a new file: FileExistsError where there is one, so only one of several writers succeeds."""
    create_atomically(path, data, _mode(path))


def _mode(path: Path) -> int:
    return 0o640 if path.parent.stat().st_mode & stat.S_ISGID else 0o600
