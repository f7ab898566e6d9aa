"""Read the lines that are appended to a log, through its rotation and truncation, with bounded memory."""

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

CHUNK = 1 << 18
LONGEST_LINE = 1 << 16
"""Of nats-server: a control line of 4 KiB, escaped, needs less."""
MOST_BEHIND = 16 << 20
"""Bytes that are read later; what is more is skipped, since the reader cannot keep up."""
COMPARED = 256
"""Bytes before a position whose digest shows that a file is still the same: inodes are reused, and logs truncated."""


class LogPosition(Struct, frozen=True, kw_only=True):
    """A place in a file: the inode, the number of bytes before it, and a digest of the last of them."""

    inode: int
    offset: int
    digest: str


class LogTail:
    """`read` returns the lines since the last call. Lines that were there before this object are not returned, but
    those after `former`, where another process stopped.
    """

    def __init__(self, path: Path, former: LogPosition | None = None) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._position = 0
        self._partial = b""
        self._skips_line = False
        self.skipped = 0
        """Bytes skipped so far, since they were too many."""
        with suppress(OSError):  # whatever comes later is new
            if former is None:
                self._open()
                self._skip_to(os.SEEK_END)
            else:
                self._resume(former)

    def read(self) -> tuple[list[str], bool]:
        """Return the next whole lines, and whether there may be more. Raises OSError: the log cannot be read now."""
        if self._descriptor is None:
            self._open()
        data = self._next()
        return self._lines(data), len(data) == CHUNK

    def close(self) -> None:
        """Close the file. Another read opens it again, from its beginning."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._position, self._partial, self._skips_line = None, 0, b"", False

    def place(self) -> LogPosition | None:
        """Return where the next line begins; None while no file is open."""
        return None if self._descriptor is None else self._place_at(self._position - len(self._partial))

    def _place_at(self, offset: int) -> LogPosition:
        length = min(offset, COMPARED)
        digest = hashlib.sha256(os.pread(self._opened, length, offset - length)).hexdigest()
        return LogPosition(inode=os.fstat(self._opened).st_ino, offset=offset, digest=digest)

    def _resume(self, former: LogPosition) -> None:
        """Open the file in which the other process stopped, also where it was renamed since; otherwise the present one,
        from its beginning.
        """
        for path in (self._path, *self._path.parent.glob(f"{self._path.name}.*")):
            with suppress(OSError):
                self._open(path)
                if self._place_at(former.offset) == former:
                    self._skip_to(os.SEEK_SET, former.offset)
                    return
            self.close()
        self._open()

    def _open(self, path: Path | None = None) -> None:
        # Without O_NONBLOCK a FIFO would block for ever.
        descriptor = os.open(path or self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{path or self._path} is no regular file")
        self._descriptor = descriptor

    def _skip_to(self, whence: int, offset: int = 0) -> None:
        self._position = os.lseek(self._opened, offset, whence)
        self._skips_line = self._position > 0 and os.pread(self._opened, 1, self._position - 1) != b"\n"

    def _next(self) -> bytes:
        if data := self._take():
            return data
        present = os.stat(self._path)  # noqa: PTH116 - as fstat, whose result it is compared with
        opened = os.fstat(self._opened)
        if (present.st_dev, present.st_ino) != (opened.st_dev, opened.st_ino):
            if data := self._take():  # written before the rename
                return data
            self.close()
            self._open()
        elif opened.st_size < self._position:  # truncated
            self._position, self._partial, self._skips_line = 0, b"", False
        return self._take()

    def _take(self) -> bytes:
        behind = os.fstat(self._opened).st_size - self._position
        if behind > MOST_BEHIND:
            self.skipped += behind - CHUNK
            self._position += behind - CHUNK
            self._partial, self._skips_line = b"", True
        data = os.pread(self._opened, CHUNK, self._position)
        self._position += len(data)
        return data

    @property
    def _opened(self) -> int:
        if self._descriptor is None:
            raise OSError(f"{self._path} is not open")
        return self._descriptor

    def _lines(self, data: bytes) -> list[str]:
        *whole, rest = data.split(b"\n")
        lines = list[str]()
        for line in whole:
            complete = self._partial + line
            if not self._skips_line and len(complete) <= LONGEST_LINE:
                lines.append(complete.decode(errors="backslashreplace"))
            self._partial, self._skips_line = b"", False
        self._partial += rest
        if len(self._partial) > LONGEST_LINE:
            self._partial, self._skips_line = b"", True
        return lines
