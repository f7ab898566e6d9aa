"""Read the lines that are appended to a log, through its rotation and truncation, with bounded memory."""

import hashlib
import os
import stat
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

CHUNK = 1 << 18
LONGEST_LINE = 1 << 16
"""Of nats-server: a control line of 4 KiB, escaped, needs less."""
MOST_BEHIND = 16 << 20
"""Bytes that are read later; what is more is skipped, since the reader cannot keep up."""
MARK = 256
"""Bytes compared to see whether a file is the same one. Each line of nats-server has the time in microseconds."""
MOST_ROTATED = 16
"""Files between two reads."""
_Inode = tuple[int, int]
_File = tuple[int, int, int]
"""Device, inode and last change: inodes are used again, and nobody changes a file that was rotated away."""


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
        self._before = b""
        """The bytes before the position: after a truncation the file has others there, however much it has grown."""
        self._partial = b""
        self._skips_line = False
        self._next_files = deque[int]()
        """Descriptors of the files that follow the open one."""
        self._others = set[_File]()
        """Files beside the log when it was opened: none of them follows it."""
        self.skipped = 0
        """Bytes skipped so far, since they were too many."""
        self._unread: tuple[_Inode | None, int] | None = None
        self._former = former
        """Where to continue as soon as a file can be opened."""
        if former is None:
            self._unread = self._start()
        else:
            with suppress(OSError):
                self._resume(former)

    def read(self) -> tuple[list[str], bool]:
        """Return the next whole lines, and whether there may be more. Raises OSError: the log cannot be read now."""
        if self._descriptor is None and self._former is not None:
            self._resume(self._former)
        elif self._descriptor is None:
            self._begin(_open(self._path))
            self._others = {_file(one) for _, one in self._beside()}
            self._skip_unread()
        data = self._next()
        return self._lines(data), len(data) == CHUNK or bool(self._next_files)

    def close(self) -> None:
        """Close the file. Another read opens it again, from its beginning."""
        while self._next_files:
            os.close(self._next_files.popleft())
        self._leave()

    def _start(self) -> tuple[_Inode | None, int] | None:
        """Go to the end of the log. Return the inode and the size of one that cannot be opened, as far as known."""
        try:
            self._begin(_open(self._path))
            self._others = {_file(one) for _, one in self._beside()}
            self._skip_to(os.fstat(self._opened).st_size)
        except FileNotFoundError:
            return None  # whatever comes later is new
        except OSError:
            with suppress(OSError):
                present = os.stat(self._path)  # noqa: PTH116 - as fstat, whose result it is compared with
                return _inode(present), present.st_size
            return None, sys.maxsize
        return None

    def place(self) -> LogPosition | None:
        """Return where the next line begins; while no file is open, where the former process stopped, or None."""
        return self._former if self._descriptor is None else self._place_at(self._position - len(self._partial))

    def _place_at(self, offset: int) -> LogPosition:
        length = min(offset, MARK)
        digest = hashlib.sha256(os.pread(self._opened, length, offset - length)).hexdigest()
        return LogPosition(inode=os.fstat(self._opened).st_ino, offset=offset, digest=digest)

    def _resume(self, former: LogPosition) -> None:
        """Open the file in which the other process stopped, also where it was renamed since; otherwise the present one,
        from its beginning. Files that follow it are found by their times.
        """
        for path in (self._path, *(path for path, _ in self._beside())):
            with suppress(OSError):
                self._begin(_open(path))
                if self._place_at(former.offset) == former:
                    self._skip_to(former.offset)
                    self._former = None
                    return
        self._leave()
        self._begin(_open(self._path))
        self._former = None
        self._others = {_file(one) for _, one in self._beside()}

    def _skip_unread(self) -> None:
        """Leave out what was there at the start, in a log that could not be opened then."""
        if self._unread is None:
            return
        (inode, size), self._unread = self._unread, None
        opened = os.fstat(self._opened)
        if inode is None or inode == _inode(opened):
            self._skip_to(min(size, opened.st_size))

    def _begin(self, descriptor: int) -> None:
        self._leave()
        self._descriptor = descriptor

    def _leave(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
        self._rewind()

    def _rewind(self) -> None:
        self._position, self._before, self._partial, self._skips_line = 0, b"", b"", False

    def _skip_to(self, position: int) -> None:
        self._position = position
        self._before = os.pread(self._opened, min(MARK, position), max(0, position - MARK))
        self._partial, self._skips_line = b"", position > 0 and self._before[-1:] != b"\n"

    def _next(self) -> bytes:
        if data := self._take():
            return data
        if not self._next_files:
            present, opened = os.stat(self._path), os.fstat(self._opened)  # noqa: PTH116 - compared with each other
            if _inode(present) == _inode(opened):
                return b""
            if data := self._take():  # written before the rename
                return data
            self._find_next_files()
        self._begin(self._next_files.popleft())
        return self._take()

    def _find_next_files(self) -> None:
        """Open the files between the open one and the present one, too: the log may have been rotated repeatedly."""
        last, beside = _open(self._path), self._beside()
        opened = os.fstat(self._opened)
        known = {_inode(opened), _inode(os.fstat(last))}
        later = [
            (one.st_mtime_ns, path)
            for path, one in beside
            if _inode(one) not in known and _file(one) not in self._others and one.st_mtime_ns >= opened.st_mtime_ns
        ]
        heads = [_head(self._opened), _head(last)]
        for _, path in sorted(later)[-MOST_ROTATED:]:
            with suppress(OSError):  # removed, or of somebody else
                descriptor = _open(path)
                heads.append(_head(descriptor))
                if any(_is_copy(heads[-1], one) for one in heads[:-1]):
                    os.close(descriptor)
                else:
                    self._next_files.append(descriptor)
        self._next_files.append(last)
        self._others = {_file(one) for _, one in beside}

    def _beside(self) -> list[tuple[Path, os.stat_result]]:
        """Return the files beside the log whose names begin with its name, as those of a rotation do."""
        found = list[tuple[Path, os.stat_result]]()
        with suppress(OSError):
            for path in self._path.parent.iterdir():
                if path.name.startswith(self._path.name) and path != self._path:
                    with suppress(OSError):  # removed meanwhile
                        found.append((path, path.lstat()))
        return found

    def _take(self) -> bytes:
        size, mark = os.fstat(self._opened).st_size, len(self._before)
        if size < self._position or (
            size > self._position and os.pread(self._opened, mark, self._position - mark) != self._before
        ):  # truncated
            self._rewind()
        if size - self._position > MOST_BEHIND:
            skipped = size - self._position - CHUNK
            self.skipped += skipped
            self._skip_to(self._position + skipped)
        data = os.pread(self._opened, CHUNK, self._position)
        self._position += len(data)
        self._before = (self._before + data)[-MARK:]
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


def _open(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would block without end
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no regular file")
    return descriptor


def _inode(status: os.stat_result) -> _Inode:
    return status.st_dev, status.st_ino


def _file(status: os.stat_result) -> _File:
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _head(descriptor: int) -> bytes:
    return os.pread(descriptor, MARK, 0)


def _is_copy(head: bytes, other: bytes) -> bool:
    """Return whether both are the beginning of one file, which may have grown meanwhile."""
    return bool(head) and bool(other) and (head.startswith(other) or other.startswith(head))
