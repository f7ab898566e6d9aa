"""Open files beneath a declared root without following any link, then work by descriptor only.

The folder of the file is opened by openat2(2) with RESOLVE_BENEATH, NO_SYMLINKS and NO_MAGICLINKS; on kernels without
it, component by component with O_NOFOLLOW. The file is then one name in that descriptor, so no later rename or
link redirects the operation. Mounts beneath a root count as beneath it.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterator, List, Optional, Sequence, Tuple

from writ_hostops import syscalls
from writ_hostops.errors import HostError, system_errors
from writ_hostops.files.paths import check_path, locate, within
from writ_hostops.own_paths import INSTALLED, INSTALLED_CODE
from writ_hostops.protocol import HostTarget

_RESOLVE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PATH_ONLY = os.O_PATH | os.O_CLOEXEC
_ATTEMPTS_AT_RENAMES = 1000
_MOST_OWN = 20_000
_UNREACHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES)


@dataclass(frozen=True)
class FolderEntry:
    """A name in an opened folder, present or absent. `own`: Writ's own paths on this host."""

    path: str
    folder: int
    name: str
    own: Tuple[str, ...] = ()

    def stat(self) -> Optional[os.stat_result]:
        """Return the status of the name itself, without following links; None if it is absent."""
        with system_errors(self.path):
            try:
                return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
            except FileNotFoundError:
                return None


@contextmanager
def opened_place(target: HostTarget, path: str, name: str) -> Iterator[FolderEntry]:
    """Yield the place of the parameter called `name`, checked against roots and Writ's own paths."""
    check_path(path, name)
    root, relative = locate(path, target.file_roots)
    if relative == ".":
        raise HostError("not_a_regular_file", f"{path} is a folder")
    parent, _, last = relative.rpartition("/")
    folder = open_folder(root, parent)
    try:
        refuse_own(target, path, folder, last)
        yield FolderEntry(path, folder, last, tuple(secret_paths(target)))
    finally:
        os.close(folder)


@contextmanager
def opened_file(place: FolderEntry) -> Iterator[int]:
    """Yield a descriptor for reading the regular file at the place; HostError `not_found` or `not_a_regular_file`."""
    fd = open_existing(place)
    if fd is None:
        raise HostError("not_found", f"{place.path} does not exist")
    try:
        yield fd
    finally:
        os.close(fd)


def open_existing(place: FolderEntry) -> Optional[int]:
    """Open like opened_file, or return None for an absent file. The caller closes it."""
    with system_errors(place.path):
        try:
            return _open_regular(place)
        except FileNotFoundError:
            return None


def refuse_irregular(status: os.stat_result, path: str) -> None:
    """Raise HostError unless it is a regular file; a link counts as an escape from the root."""
    if stat.S_ISLNK(status.st_mode):
        raise HostError("outside_roots", f"{path} is a symbolic link, which is not followed")
    if not stat.S_ISREG(status.st_mode):
        raise HostError("not_a_regular_file", f"{path} is not a regular file")


def open_folder(root: str, relative: str) -> int:
    """Return a descriptor of the folder `relative` ("" for the root itself) beneath `root`."""
    start = os.open("/", _PATH_ONLY | os.O_DIRECTORY)
    try:
        # The root is held to the same: one reached through a link could be pointed elsewhere by who owns the link.
        top = _resolve(start, root[1:], _FOLDER if not relative else _PATH_ONLY | os.O_DIRECTORY, root)
    finally:
        os.close(start)
    if not relative:
        return top
    try:
        return _resolve(top, relative, _FOLDER, f"{root.rstrip('/')}/{relative}")
    finally:
        os.close(top)


@contextmanager
def reopened(folder: int, relative: str, path: str) -> Iterator[int]:
    """Return a descriptor of the folder `relative` ("" for itself) beneath an opened one, at `path`, without
    following links.
    """
    fd = _resolve(folder, relative, _FOLDER, f"{path}/{relative}")
    try:
        yield fd
    finally:
        os.close(fd)


def _resolve(start: int, relative: str, flags: int, path: str) -> int:
    with system_errors(path):
        try:
            return _by_openat2(start, relative or ".", flags)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EXDEV):
                raise HostError("outside_roots", f"the path {path} contains a symbolic link") from error
            # EPERM: a seccomp filter older than the call, as container engines had them.
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                raise
        return by_walking(start, relative.split("/"), flags, path)


def _by_openat2(start: int, relative: str, flags: int) -> int:
    for _ in range(_ATTEMPTS_AT_RENAMES):
        try:
            return syscalls.openat2(start, relative, flags, _RESOLVE)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
    raise OSError(errno.EAGAIN, "folders of the path were renamed during each attempt")


def by_walking(start: int, components: Sequence[str], flags: int, path: str) -> int:
    """Resolve a path as openat2 does, in steps, for kernels before 5.6."""
    current = os.dup(start)
    try:
        for component in components[:-1]:
            following = _step(current, component, _PATH_ONLY | os.O_DIRECTORY, path)
            os.close(current)
            current = following
        return _step(current, components[-1] or ".", flags, path)
    finally:
        os.close(current)


def _step(folder: int, component: str, flags: int, path: str) -> int:
    for _ in range(_ATTEMPTS_AT_RENAMES):
        try:
            return os.open(component, flags | os.O_NOFOLLOW, dir_fd=folder)
        except OSError as error:
            # O_DIRECTORY | O_NOFOLLOW says ENOTDIR or ELOOP of a link, by kernel.
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            there = os.stat(component, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISLNK(there):
                raise HostError("outside_roots", f"the path {path} contains a symbolic link") from error
            if not stat.S_ISDIR(there):
                raise
    raise OSError(errno.EAGAIN, "folders of the path were renamed during each attempt")


def _open_regular(place: FolderEntry) -> int:
    # Opening a device or FIFO has effects of its own; O_PATH has none, and the second open names the very same inode.
    handle = os.open(place.name, _PATH_ONLY | os.O_NOFOLLOW, dir_fd=place.folder)
    try:
        status = os.fstat(handle)
        refuse_irregular(status, place.path)
        # One of several names: the others may lie anywhere on the file system, also where Writ keeps its keys.
        if status.st_nlink > 1 and _is_among(status, place.own):
            raise HostError("outside_roots", f"{place.path} is a second name of a file that belongs to Writ itself")
        # Without fs.protected_hardlinks the folder's owner can name a file there that only another user may read.
        if status.st_nlink > 1 and status.st_uid != os.fstat(place.folder).st_uid:
            raise HostError("outside_roots", f"{place.path} is a second name of a file of another user than its folder")
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(handle)


def own_paths(target: HostTarget) -> List[str]:
    """Return Writ's own files and folders on this host, and those of the target's backups."""
    backups = [target.backup.folder] if target.backup and target.backup.folder else []
    return [*secret_paths(target), *_present(INSTALLED_CODE), *backups]


def secret_paths(target: HostTarget) -> List[str]:
    """Return the paths that must not even be read. A backup repository is not among them: it is encrypted."""
    password = [] if target.backup is None else [target.backup.password_file]
    declared = [item for item in (*target.forbidden_paths, target.state_dir, *password) if item]
    return [*declared, *_present(INSTALLED)]


def _present(patterns: Sequence[str]) -> List[str]:
    """Return the paths that this account reaches: it cannot read what is behind a link to elsewhere."""
    return [path for pattern in patterns for path in glob.glob(pattern) if os.path.exists(path)]


def refuse_own(target: HostTarget, path: str, folder: int, name: str) -> None:
    """Refuse Writ's own keys and state inside any root: by path, and by inode for other mounts."""
    own = own_paths(target)
    if any(within(path, os.path.realpath(item)) for item in own):
        raise HostError("outside_roots", f"{path} belongs to Writ itself")
    inodes = {_inode(status) for status in map(_status, own) if status}
    with system_errors(path):
        if inodes & set(_inodes_upwards(folder)) or _inode_of(folder, name) in inodes:
            raise HostError("outside_roots", f"{path} belongs to Writ itself")


def _is_among(sought: os.stat_result, own: Sequence[str]) -> bool:
    """Return whether the file is one of these or inside one of these folders. True also if there are too many to
    check.
    """
    return any(count > _MOST_OWN or _inode(status) == _inode(sought) for count, status in enumerate(_beneath(own)))


def _beneath(own: Sequence[str]) -> Iterator[os.stat_result]:
    for item in own:
        status = _status(item)
        if status is not None:
            yield status
        for folder, _, names in os.walk(item):
            for path in filter(os.path.exists, (os.path.join(folder, name) for name in names)):
                own_status = _status(path)
                if own_status is not None:
                    yield own_status


def _status(path: str) -> Optional[os.stat_result]:
    """Return the status of a path of Writ's own; None if it names no file, or none that this account reaches."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno not in _UNREACHED:
            raise
        return None


def _inode(status: os.stat_result) -> "tuple[int, int]":
    return status.st_dev, status.st_ino


def _inode_of(folder: int, name: str) -> "Optional[tuple[int, int]]":
    try:
        return _inode(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _inodes_upwards(folder: int) -> "Iterator[tuple[int, int]]":
    current = os.dup(folder)
    try:
        while True:
            here = _inode(os.fstat(current))
            yield here
            above = os.open("..", _PATH_ONLY | os.O_DIRECTORY, dir_fd=current)
            os.close(current)
            current = above
            if _inode(os.fstat(above)) == here:
                return
    finally:
        os.close(current)
