"""`writ_documents.readers` for a service: the same values, the same mistakes, and no trace of having read a large file.

Read here, ten thousand targets take many times their own memory for a second. What lasts is put down among what goes,
so that pages half full stay; each thread that ever reads keeps some of its own; and all the while the interpreter is
taken from who decides. So another process reads them, and what comes of it comes back in few bytes.
"""

import os
import subprocess
from collections.abc import Callable, Mapping
from mmap import mmap
from pathlib import Path
from typing import Any, Generic, TypeVar

from msgspec import MsgspecError, Raw, Struct, msgpack

from writ_contracts.inventory import AgentKey, Agents, Inventory, Principal, Principals, Target
from writ_documents import readers
from writ_documents.document import FileErrors, Problem
from writ_runtime import subprocess_env
from writ_runtime.logs import Log

Kind = TypeVar("Kind", bound=Struct)
SMALL = 64 << 10
"""Bytes of a file that is read here, in less time than a process takes to begin."""
SECONDS = 60.0
REFUSED = 3
"""The status of a process whose output is the file's mistakes."""

_log = Log("writ.files")


class ListKind(Struct, Generic[Kind], frozen=True, kw_only=True):
    """A sort of list: what reads it, and what `section` of it holds."""

    read: Callable[[Path], Kind]
    kind: type[Kind]
    section: str
    entry: type[Struct]


TARGETS = ListKind(read=readers.read_inventory, kind=Inventory, section="targets", entry=Target)
PRINCIPALS = ListKind(read=readers.read_principals, kind=Principals, section="principals", entry=Principal)
AGENTS = ListKind(read=readers.read_agents, kind=Agents, section="agents", entry=AgentKey)
SORTS: Mapping[str, ListKind[Any]] = {sort.section: sort for sort in (TARGETS, PRINCIPALS, AGENTS)}


def read_inventory(path: Path) -> Inventory:
    """The targets."""
    return _read(path, TARGETS)


def read_principals(path: Path) -> Principals:
    """Who may ask."""
    return _read(path, PRINCIPALS)


def read_agents(path: Path) -> Agents:
    """Which keys may claim for which pool."""
    return _read(path, AGENTS)


def _read(path: Path, sort: ListKind[Kind]) -> Kind:
    """Whatever becomes of the process, the file is read: a right that was taken away must not go on for that."""
    if not _is_large(path):
        return sort.read(path)
    try:
        return _read_beside(path, sort)
    except (OSError, ValueError, MsgspecError, subprocess.SubprocessError) as error:
        _log.warning("file.read_here", path=str(path), reason=str(error))
        return sort.read(path)


def _read_beside(path: Path, sort: ListKind[Kind]) -> Kind:
    """Raises FileErrors as the reader does. For what is not the file's fault OSError and SubprocessError, or, where it
    says something else than we know (a newer version was put in our place), ValueError and MsgspecError.

    What comes back is mapped and not read, which would leave its size to the thread. A group of its own keeps a Ctrl-C
    that is meant for others away from it.
    """
    command = subprocess_env.command("writ_runtime.list_reader", sort.section, str(path))
    with open(os.memfd_create("reading"), "w+b", buffering=0) as answer:  # noqa: PTH123 - a file without a path
        status = subprocess.run(
            command,
            env=subprocess_env.environment(),
            stdin=subprocess.DEVNULL,
            stdout=answer,
            timeout=SECONDS,
            process_group=0,
            check=False,
        ).returncode
        if status not in (0, REFUSED):
            raise subprocess.CalledProcessError(status, command)
        data = mmap(answer.fileno(), 0)  # not closed by hand: that fails while an error holds parts of it
        if status == REFUSED:
            raise FileErrors(*msgpack.decode(data, type=list[Problem]))
        return sort.kind(**{sort.section: _entries(data, sort.entry)})


def _entries(data: mmap, kind: type[Struct]) -> list[Struct]:
    """One at a time: all at once would take the interpreter from everybody else for as long."""
    decoder = msgpack.Decoder(kind)
    return [decoder.decode(each) for each in msgpack.decode(data, type=list[Raw])]


def _is_large(path: Path) -> bool:
    """Whether a process is worth it; where there are no files without a path, none is."""
    try:
        return path.stat().st_size > SMALL and hasattr(os, "memfd_create")
    except OSError:
        return False
