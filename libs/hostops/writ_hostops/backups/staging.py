"""Restore through a folder that nobody else can enter, and move the files into place by descriptor.

restic works by path. In a folder that somebody else may write to, a link put in the way could redirect each of its
steps (and root's chown with it). So restic writes to `.writ-<16 hex>.restore`, mode 0700, inside the destination, from
where files can be renamed into place. restic reaches it by a descriptor (/proc/self/fd), so the name does not matter.
Each part is then renamed into a folder that was opened without following links. An existing folder keeps its owner,
mode and times: it may have been exchanged a moment ago.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterable, Iterator, List, Optional

from writ_hostops.errors import HostError, system_errors
from writ_hostops.files.open_beneath import reopened
from writ_hostops.files.trees import FOLDER_FLAGS, Tree, refuse_not_new
from writ_hostops.stop import CancelToken

TREE = "tree"
_SPECIAL_MODES = 0o7000
_CAPABILITY = "security.capability"


@dataclass(frozen=True)
class AllowedKinds:
    """The kinds of files that a restore may bring back. `special_modes`: setuid, setgid and sticky bits, file
    capabilities and devices. `owner`: only files of this user; None allows any owner.
    """

    special_modes: bool = False
    owner: Optional[int] = None


def staging_name() -> str:
    """Return a new name for a staging folder (paths.TEMPORARY)."""
    return f".writ-{secrets.token_hex(8)}.restore"


@contextmanager
def staging_folder(tree: Tree) -> Iterator[int]:
    """Yield a descriptor of a new folder in the destination with an empty folder TREE inside. It is removed
    afterwards.
    """
    name = staging_name()
    with system_errors(tree.where):
        os.mkdir(name, 0o700, dir_fd=tree.folder)
        folder = os.open(name, FOLDER_FLAGS, dir_fd=tree.folder)
    try:
        refuse_not_new(folder, tree.where)
        with system_errors(tree.where):
            os.mkdir(TREE, 0o700, dir_fd=folder)
        yield folder
    finally:
        # What is left of it is recognisable, and an error here must not hide what happened before.
        with contextlib.suppress(OSError):
            _empty(folder)
            os.rmdir(name, dir_fd=tree.folder)
        os.close(folder)


def move_in(staging: int, tree: Tree, kinds: AllowedKinds, stop: CancelToken) -> List[str]:
    """Move everything of the staged tree into place. Return the entries that could not be moved, each with the
    reason.
    """
    problems: List[str] = []
    with system_errors(tree.where):
        _drop_refused(staging, kinds, problems)
        stop.check()
    waiting = [""]
    while waiting:
        relative = waiting.pop()
        with _opened(staging, relative) as source:
            try:
                with reopened(tree.folder, relative, tree.where) as dest:
                    waiting += _move_entries(source, dest, relative, problems, stop)
            except HostError as error:
                if error.effect == "maybe":
                    raise
                problems.append(error.message)
    return problems


def drop_spoiled(staging: int, items: Iterable[str]) -> None:
    """Remove the files that restic could not restore: half a file must not replace an existing one."""
    for item in items:
        path = f"{TREE}/{item.strip('/')}"
        if ".." not in path.split("/") and stat.S_ISREG(_mode(staging, path)):
            os.unlink(path, dir_fd=staging)


@contextmanager
def _opened(staging: int, relative: str) -> Iterator[int]:
    # By path: nobody else can enter the staging folder. Open one folder at a time, however deep the tree is.
    folder = os.open(_below(TREE, relative), FOLDER_FLAGS, dir_fd=staging)
    try:
        yield folder
    finally:
        os.close(folder)


def _move_entries(source: int, dest: int, relative: str, problems: List[str], stop: CancelToken) -> List[str]:
    """Move the entries of one folder. Folders that exist on both sides stay and are returned."""
    shared = []
    for name in sorted(os.listdir(source)):
        if stop.cancelled or not stop.remaining():
            code = "cancelled" if stop.cancelled else "timeout"
            raise HostError(code, "the restore was ended while its files were moved into place", effect="maybe")
        try:
            if not _move(source, dest, name):
                shared.append(_below(relative, name))
        except OSError as error:
            problems.append(f"{_below(relative, name)}: {_reason(error)}")
    return shared


def _move(source: int, dest: int, name: str) -> bool:
    """Rename one entry into place. Return False for a folder that must be merged with an existing one."""
    staged, there = _mode(source, name), _mode(dest, name)
    if stat.S_ISDIR(staged):
        if stat.S_ISDIR(there):
            _make_writable(source, name, staged)
            return False
        if there:
            os.unlink(name, dir_fd=dest)
        _move_folder(source, dest, name, staged)
        return True
    if stat.S_ISDIR(there):
        os.rmdir(name, dir_fd=dest)
    os.rename(name, name, src_dir_fd=source, dst_dir_fd=dest)
    return True


def _move_folder(source: int, dest: int, name: str, mode: int) -> None:
    """Rename a folder. Only root may rename one that its owner may not write to, so it is made writable first."""
    _make_writable(source, name, mode)
    folder = os.open(name, FOLDER_FLAGS, dir_fd=source)
    try:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=dest)
        os.fchmod(folder, stat.S_IMODE(mode))
    finally:
        os.close(folder)


def _make_writable(source: int, name: str, mode: int) -> None:
    if mode & 0o700 != 0o700:
        os.chmod(name, stat.S_IMODE(mode) | 0o700, dir_fd=source)


def _drop_refused(staging: int, kinds: AllowedKinds, problems: List[str]) -> None:
    """Remove forbidden kinds from the staged tree. This happens before any move, so nobody ever sees them in
    place.
    """
    waiting = [""]
    while waiting:
        place = waiting.pop()
        with _opened(staging, place) as folder:
            for name in os.listdir(folder):
                path, status = _below(place, name), os.stat(name, dir_fd=folder, follow_symlinks=False)
                why = _refused(status, kinds)
                if why:
                    problems.append(f"{path}: {why}")
                    _remove(folder, name, status.st_mode)
                    continue
                if not kinds.special_modes:
                    _plain(folder, name, status.st_mode)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(path)


def _refused(status: os.stat_result, kinds: AllowedKinds) -> str:
    if not kinds.special_modes and (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        return "is a device, which is restored only with special_modes"
    if kinds.owner is not None and status.st_uid != kinds.owner:
        return f"belongs to user {status.st_uid}, and only files of the folder's owner were to be restored"
    return ""


def _plain(folder: int, name: str, mode: int) -> None:
    """Remove setuid, setgid, sticky bit and capabilities: they were granted to another file."""
    if stat.S_ISLNK(mode):
        return
    if mode & _SPECIAL_MODES:
        os.chmod(name, mode & 0o777, dir_fd=folder)
    with contextlib.suppress(OSError):  # it has none, or the file system has no such thing
        os.removexattr(f"/proc/self/fd/{folder}/{name}", _CAPABILITY, follow_symlinks=False)


def _empty(folder: int) -> None:
    for name in os.listdir(folder):
        _remove(folder, name, _mode(folder, name))


def _remove(folder: int, name: str, mode: int) -> None:
    """Remove an entry of the staging folder and everything beneath it."""
    if not stat.S_ISDIR(mode):
        os.unlink(name, dir_fd=folder)
        return
    # Bottom up, and by path: nobody else can enter here, and a tree may be deeper than there are descriptors.
    folders, waiting = [], [name]
    while waiting:
        path = waiting.pop()
        folders.append(path)
        _make_writable(folder, path, _mode(folder, path))
        below = os.open(path, FOLDER_FLAGS, dir_fd=folder)
        try:
            for entry in os.listdir(below):
                if stat.S_ISDIR(_mode(below, entry)):
                    waiting.append(_below(path, entry))
                else:
                    os.unlink(entry, dir_fd=below)
        finally:
            os.close(below)
    for path in reversed(folders):
        os.rmdir(path, dir_fd=folder)


def _mode(folder: int, name: str) -> int:
    """Return type and mode of an entry without following links; 0 for an absent one."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _reason(error: OSError) -> str:
    if error.errno == errno.EXDEV:
        return "is on another file system; restore it by itself"
    return (error.strerror or "error").lower()
