"""Bundles: one file with many members, each with its digest in a manifest. Archives and backups have this form.

A bundle is a zip file with mode 0600, which common tools can read. It gets its name only after it is complete and
synced to disk. A member's digest is of its content, so compression makes no difference.
"""

import errno
import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from msgspec import Struct

from writ_contracts.errors import Conflict, WritError
from writ_documents.atomic_files import sync_folder

CHUNK = 1 << 20
MANIFEST = "manifest.json"
MOST_IN_MEMORY = 64 << 20
_LEVEL = 6


class DamagedBundle(WritError):
    """Raised when a file has changed since it was made."""

    default_code = "damaged"


class Member(Struct, frozen=True, kw_only=True):
    """A file in the bundle."""

    name: str
    bytes: int
    sha256: str


class MemberWriter:
    """The writer of a member's content, which counts the bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> None:
        """Write the next piece."""
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)

    @property
    def sha256(self) -> str:
        """Return the digest of all written data."""
        return self._digest.hexdigest()


class BundleWriter:
    """A bundle under construction, in `<name>.partial`; `publish` gives it its name.

    The file of a killed process is replaced by a new file, never overwritten: another process may have it open.
    """

    def __init__(self, path: Path) -> None:
        """Raises Conflict where the file exists, OSError with its name where it cannot be made."""
        self.path = path
        self._partial = path.with_name(f"{path.name}.partial")
        if path.exists():
            raise Conflict(f"{path} exists already")
        with _disk(path):
            self._partial.unlink(missing_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.fdopen(os.open(self._partial, flags, 0o600), "w+b")
            os.fchmod(self._file.fileno(), 0o600)
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=_LEVEL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file.closed:
            return
        with suppress(OSError, ValueError):  # such as a full disk, or a member that is still open
            self._zip.close()
        own = self._is_own(self._partial)
        with suppress(OSError):  # closing may fail again: its buffer has no room on the disk either
            self._file.close()
        if own:
            self._partial.unlink(missing_ok=True)

    def _is_own(self, path: Path) -> bool:
        """Return true if the name still refers to this file."""
        with suppress(OSError):
            return os.path.samestat(os.lstat(path), os.fstat(self._file.fileno()))
        return False

    @contextmanager
    def member(self, name: str) -> Iterator[MemberWriter]:
        """Add a file, written within the block."""
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        with _disk(self.path), self._zip.open(info, "w", force_zip64=True) as file:
            yield MemberWriter(file)

    def put(self, name: str, data: bytes) -> Member:
        """Add a file with this content."""
        with self.member(name) as sink:
            sink.write(data)
        return Member(name=name, bytes=sink.bytes, sha256=sink.sha256)

    def publish(self) -> None:
        """Sync the complete bundle and give it its name, unless another process took the name meanwhile."""
        with _disk(self.path):
            self._zip.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            try:
                os.link(self._partial, self.path, follow_symlinks=False)
            except FileExistsError:
                raise Conflict(f"{self.path} exists already") from None
            if not self._is_own(self.path):
                self.path.unlink(missing_ok=True)
                raise Conflict(f"{self.path} differs from the written bytes: another process writes {self._partial}")
            self._partial.unlink()
            self._file.close()
            sync_folder(self.path.parent)


class Bundle:
    """A bundle for reading. Raises DamagedBundle for an unpublished file."""

    def __init__(self, path: Path, kind: str) -> None:
        """`kind`: what it should be, for messages. Raises OSError, with its name, where it cannot be opened."""
        self.path = path
        self._kind = kind
        with _disk(path, kind), _as_made(path, kind):
            self._zip = zipfile.ZipFile(path)
        self.names = self._zip.namelist()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> bytes:
        """Return a small member."""
        return b"".join(self.chunks(name, most=MOST_IN_MEMORY))

    def chunks(self, name: str, most: int | None = None) -> Iterator[bytes]:
        """Yield a member's content, piece by piece; no more than `most` bytes."""
        count = 0
        with _disk(self.path, self._kind), _as_made(self.path, self._kind), self._zip.open(name) as file:
            while chunk := file.read(CHUNK):
                count += len(chunk)
                if most is not None and count > most:
                    raise DamagedBundle(f"{self.path}: {name} has more than {most} bytes")
                yield chunk

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield a member's lines, without their ends."""
        rest = b""
        for chunk in self.chunks(name):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > MOST_IN_MEMORY:
                raise DamagedBundle(f"{self.path}: {name} has a line without an end")
            yield from lines
        if rest:
            yield rest

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a member's content."""
        whole = hashlib.sha256()
        for chunk in self.chunks(name):
            whole.update(chunk)
        return whole.hexdigest()

    def must_have(self, *expected: str) -> None:
        """Raise DamagedBundle unless the bundle has exactly these members, each once."""
        if sorted(self.names) != sorted(expected):
            strange = sorted(set(self.names) ^ set(expected)) or self.names
            raise DamagedBundle(
                f"{self.path}: its members differ from those in its manifest: {', '.join(strange)[:300]}"
            )


@contextmanager
def _as_made(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DamagedBundle(f"{path}: it is not a complete {kind}: {error}") from error


@contextmanager
def _disk(path: Path, kind: str = "bundle") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EINVAL:  # a damaged offset: zipfile seeks to a place before the file
            raise DamagedBundle(f"{path}: it is not a complete {kind}: {error}") from error
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
