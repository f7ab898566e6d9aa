"""`writ_documents.readers` for a service: the same values, the same errors, and no lasting memory of a large file.

Read in the service itself, ten thousand targets would take many times their own memory for a second. Lasting values
would lie among temporary ones and keep pages half full; each reading thread would keep some memory of its own; and
decisions would wait for the interpreter. So another process reads large files and returns the result in few bytes.
"""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from mmap import mmap
from pathlib import Path
from typing import Any, Generic, TypeVar

from msgspec import MsgspecError, Raw, Struct, msgpack

from writ_contracts.inventory import AgentKey, Agents, Inventory, Principal, Principals, Target
from writ_documents import readers
from writ_documents.document import FileErrors, FileProblem
from writ_runtime.logs import Log
from writ_runtime.short_process import is_possible, run_once

Kind = TypeVar("Kind", bound=Struct)
SMALL = 64 << 10
"""Bytes of a file read here, in less time than a process takes to begin."""
SECONDS = 60.0
NICE = 10
"""Of a process that reads the inventory: decisions go on meanwhile."""
REFUSED = 3
"""The exit status of a process whose output is the file's mistakes."""

_log = Log("writ.files")


class ListKind(Struct, Generic[Kind], frozen=True, kw_only=True):
    """A kind of list: its reader, and the type of its `section`."""

    read: Callable[[Path], Kind]
    kind: type[Kind]
    section: str
    entry: type[Struct]


TARGETS = ListKind(read=readers.read_inventory, kind=Inventory, section="targets", entry=Target)
PRINCIPALS = ListKind(read=readers.read_principals, kind=Principals, section="principals", entry=Principal)
AGENTS = ListKind(read=readers.read_agents, kind=Agents, section="agents", entry=AgentKey)
SORTS: Mapping[str, ListKind[Any]] = {sort.section: sort for sort in (TARGETS, PRINCIPALS, AGENTS)}


class ListReader(Generic[Kind]):
    """Reads a list again and again. Entries that have not changed stay the same objects, so that an edit of one of ten
    thousand needs memory and time for that one.
    """

    def __init__(self, sort: ListKind[Kind]) -> None:
        self._sort = sort
        self._entries: Sequence[Struct] = ()

    def __call__(self, path: Path) -> Kind:
        """Return the present list. Raises ConfigError."""
        found = _read(path, self._sort, self._entries)
        self._entries = getattr(found, self._sort.section)
        return found


def _read(path: Path, sort: ListKind[Kind], earlier: Sequence[Struct]) -> Kind:
    """Read the file, in this process if the other one fails: a revoked right must not stay in force by such a
    failure.
    """
    if not _is_large(path):
        return sort.read(path)
    try:
        return _read_beside(path, sort, earlier)
    except (OSError, ValueError, MsgspecError, subprocess.SubprocessError) as error:
        _log.warning("file.read_here", path=str(path), reason=str(error))
        return sort.read(path)


def _read_beside(path: Path, sort: ListKind[Kind], earlier: Sequence[Struct]) -> Kind:
    """Read in another process. Raises FileErrors as the reader does; for other failures OSError and SubprocessError;
    for an unknown reply (a newer version was installed) ValueError and MsgspecError.
    """
    status, data = run_once("writ_runtime.list_reader", sort.section, str(path), seconds=SECONDS, statuses=(0, REFUSED))
    if status == REFUSED:
        raise FileErrors(*msgpack.decode(data, type=list[FileProblem]))
    return sort.kind(**{sort.section: _entries(data, sort.entry, earlier)})


def _entries(data: mmap, kind: type[Struct], earlier: Sequence[Struct]) -> list[Struct]:
    """Return the entries: those that are among the `earlier` ones, byte by byte, and the others decoded, one at a time,
    since all at once would hold the interpreter for as long.
    """
    encoder, decoder = msgpack.Encoder(), msgpack.Decoder(kind)
    known = {encoder.encode(entry): entry for entry in earlier}
    return [known.get(bytes(each)) or decoder.decode(each) for each in msgpack.decode(data, type=list[Raw])]


def _is_large(path: Path) -> bool:
    """Return whether a process is worthwhile, and possible."""
    try:
        return path.stat().st_size > SMALL and is_possible()
    except OSError:
        return False
