"""Open a whole folder (or one file) beneath a declared root, for programs that then work in it by descriptor.

A folder with files of Writ or of the target's backups is refused as a whole: nothing is left out silently.
"""

from __future__ import annotations

import os
import posixpath
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Iterator, Optional, Tuple

from writ_hostops.errors import HostError, system_errors
from writ_hostops.files.open_beneath import open_folder, own_paths, refuse_irregular, refuse_own
from writ_hostops.files.paths import check_path, locate, within
from writ_hostops.protocol import HostTarget

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Tree:
    """An opened tree. `folder` is its descriptor; `name` is "" for all of it, else the one file in it."""

    path: str
    folder: int
    name: str = ""

    @property
    def where(self) -> str:
        """Return the path of `folder`."""
        return posixpath.dirname(self.path) if self.name else self.path

    @property
    def entry(self) -> str:
        """Return the entry as an argument that cannot be taken for an option."""
        return f"./{self.name}" if self.name else "."


@contextmanager
def opened_tree(target: HostTarget, path: str, make: Optional[int] = None) -> Iterator[Tree]:
    """Open the folder or regular file of `target_path`; HostError `not_found`, `outside_roots`.

    With `make`, a mode, an absent folder is created if its parent exists. After an error it is removed again if it is
    empty.
    """
    with opened_parent(target, path) as (folder, last):
        is_new = make is not None and last != "" and _make(path, folder, last, make)
        try:
            with entered(target, path, folder, last) as tree:
                yield tree
        except BaseException:
            if is_new:
                with suppress(OSError):
                    os.rmdir(last, dir_fd=folder)
            raise


@contextmanager
def opened_around(target: HostTarget, path: str) -> Iterator[Tree]:
    """Open the folder around a file that may be absent; HostError for anything other than a regular file."""
    with opened_parent(target, path) as (folder, last):
        tree = Tree(path, folder, last)
        refuse_own(target, path, folder, last or ".")
        with system_errors(path), suppress(FileNotFoundError):
            refuse_irregular(os.stat(last or ".", dir_fd=folder, follow_symlinks=False), path)
        yield tree


@contextmanager
def opened_parent(target: HostTarget, path: str, around_own: bool = False) -> Iterator[Tuple[int, str]]:
    """Yield the parent folder and the last name; for a root the root itself and "". `around_own`: Writ's own files may
    be inside.
    """
    check_path(path, "target_path")
    root, relative = locate(path, target.file_roots)
    if not around_own:
        _refuse_holding_own(target, path)
    parent, _, last = ("", "", "") if relative == "." else relative.rpartition("/")
    folder = open_folder(root, parent)
    try:
        yield folder, last
    finally:
        os.close(folder)


def _make(path: str, folder: int, name: str, mode: int) -> bool:
    """Make the folder. Return False if it is there already."""
    with system_errors(path):
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            return False
        made = os.open(name, FOLDER_FLAGS, dir_fd=folder)
        try:
            refuse_not_new(made, path)
            os.fchmod(made, mode)
        finally:
            os.close(made)
    return True


def refuse_not_new(folder: int, path: str) -> None:
    """Raise HostError unless the folder is ours, private and empty, as mkdir has left it: names can be exchanged."""
    status = os.fstat(folder)
    private = status.st_uid == os.geteuid() and not status.st_mode & 0o077
    if not private or os.listdir(folder):
        raise HostError("outside_roots", f"{path}: another program exchanged a folder that was made there just now")


@contextmanager
def entered(target: HostTarget, path: str, folder: int, name: str) -> Iterator[Tree]:
    """Yield the folder or file `name` of an opened folder; the folder itself for ""."""
    tree = _entered(path, folder, name) if name else Tree(path, folder)
    try:
        refuse_own(target, path, tree.folder, tree.name or ".")
        yield tree
    finally:
        if tree.folder != folder:
            os.close(tree.folder)


def _entered(path: str, folder: int, name: str) -> Tree:
    with system_errors(path):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            return Tree(path, os.open(name, FOLDER_FLAGS, dir_fd=folder))
    refuse_irregular(status, path)
    return Tree(path, folder, name)


def _refuse_holding_own(target: HostTarget, path: str) -> None:
    for own in own_paths(target):
        if within(os.path.realpath(own), path):
            raise HostError("outside_roots", f"{path} holds {own}, which belongs to Writ itself")
