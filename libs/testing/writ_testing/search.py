"""Searches of files and processes that change meanwhile: a vanished one holds nothing."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path


def files(*tops: Path) -> Iterator[Path]:
    """Yield every file in these folders, at any depth, without following links to folders."""
    for top in tops:
        for folder, _, names in os.walk(top):
            yield from (path for name in names if (path := Path(folder, name)).is_file())


def folders(top: Path) -> Iterator[Path]:
    """Yield the folder and all folders in it, at any depth."""
    yield from (Path(folder) for folder, _, _ in os.walk(top))


def modes(paths: Iterable[Path]) -> Iterator[int]:
    """Yield the permission bits of those that still exist."""
    for path in paths:
        with suppress(FileNotFoundError):
            yield stat.S_IMODE(path.lstat().st_mode)


def contents(path: Path) -> bytes:
    """Return the contents of a file or /proc entry; nothing if it is gone or another user's."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def containing(paths: Iterable[Path], *marks: str | bytes) -> list[Path]:
    """Return those with one of the marks."""
    patterns = [mark.encode() if isinstance(mark, str) else mark for mark in marks]
    return [path for path in paths if (data := contents(path)) and any(mark in data for mark in patterns)]


def pids() -> list[int]:
    """Return the pids of all processes."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def cmdline(pid: int) -> bytes:
    """Return the arguments, each ended by a null (proc(5)); nothing for a vanished process."""
    return contents(Path(f"/proc/{pid}/cmdline"))


def environ(pid: int) -> bytes:
    """Return the initial environment, each entry ended by a null (proc(5)); nothing for a vanished process."""
    return contents(Path(f"/proc/{pid}/environ"))


def alive(pid: int) -> bool:
    """Return whether the process exists and is no zombie (proc(5), `state`)."""
    state = contents(Path(f"/proc/{pid}/stat")).rpartition(b") ")[2][:1]
    return state not in (b"", b"Z", b"X")
