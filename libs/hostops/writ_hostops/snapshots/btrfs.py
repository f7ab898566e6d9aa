"""Snapshots of a btrfs subvolume: read-only ones in `.writ-snapshots/<its path>` of its file root, which belongs to
Writ.

A restore makes a writable copy of the snapshot beside the subvolume and exchanges the two in one step; the old one is
then removed. A subvolume that is a mount point has no place beside it: the kernel does not exchange mount points, and a
replacement would show only after the next mount. Its snapshots are kept, and a restore is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shlex
import stat
from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional
from urllib.parse import quote

from writ_hostops import syscalls
from writ_hostops.errors import HostError, from_os_error, system_errors
from writ_hostops.files.open_beneath import open_folder
from writ_hostops.snapshots import calls
from writ_hostops.snapshots.store import Snapshot, undone

FOLDER = ".writ-snapshots"
_LONGEST_NAME = 255
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPERATION, _DESCRIPTION = "user.writ.operation", "user.writ.description"


class BtrfsStore:
    """See Store. `parent` and `source` are descriptors of the folder above and of the subvolume at `path`."""

    def __init__(self, root: str, path: str, parent: int, source: int) -> None:
        self._mounted = _mount_of(parent) != _mount_of(source)
        self._root, self._path, self._parent, self._source = root, path, parent, source
        self._name = path.rpartition("/")[2]
        self._place = quote(os.path.relpath(path, root), safe="")
        if len(self._place) > _LONGEST_NAME:
            raise HostError("unsupported", f"{path} is too long a path for snapshots")
        if not _on_the_file_system_of(root, source):
            raise HostError(
                "unsupported", f"{path} is on another file system than {root}, where its snapshots would be"
            )

    def all(self) -> List[Snapshot]:
        with self._folder(make=False) as folder:
            if folder is None:
                return []
            snapshots = _read(folder, self._path)
        return sorted(snapshots, key=lambda one: one.created_at, reverse=True)

    def create(self, name: str, description: str, operation_id: str) -> None:
        """Create the snapshot. It becomes read-only only when complete: this tells finished ones from unfinished
        ones.
        """
        with self._folder(make=True) as folder, system_errors(self._path):
            if folder is None:
                raise FileNotFoundError(errno.ENOENT, "no folder for snapshots")
            calls.snapshot(self._source, folder, name)
            with undone(lambda: self._remove(folder, name)):
                made = os.open(name, _OPEN, dir_fd=folder)
                try:
                    os.setxattr(made, _OPERATION, operation_id.encode())
                    os.setxattr(made, _DESCRIPTION, description.encode())
                    calls.set_read_only(made)
                finally:
                    os.close(made)
                calls.sync(folder)

    def restore(self, snapshot: Snapshot) -> str:
        self._refuse_mounted()
        temporary = f".writ-{secrets.token_hex(8)}.tmp"
        with self._folder(make=False) as folder, system_errors(self._path):
            if folder is None:
                raise FileNotFoundError(errno.ENOENT, "no folder for snapshots")
            kept = os.open(snapshot.name, _OPEN, dir_fd=folder)
            try:
                calls.snapshot(kept, self._parent, temporary)
            finally:
                os.close(kept)
            with undone(lambda: self._remove(self._parent, temporary)):
                self._prepare(temporary)
                syscalls.renameat2(self._parent, temporary, self._name, syscalls.RENAME_EXCHANGE)
        return self._settle(temporary)

    def now(self) -> Dict[str, str]:
        with system_errors(self._path):
            info = calls.info(self._source)
        return {"reference": info.uuid, "origin": info.origin}

    def delete(self, snapshot: Snapshot) -> None:
        with self._folder(make=False) as folder, system_errors(self._path):
            if folder is None:
                raise FileNotFoundError(errno.ENOENT, "no folder for snapshots")
            calls.destroy(folder, snapshot.name)
            try:
                calls.sync(folder)
            except OSError as error:
                raise HostError(
                    "internal", f"{self._path}: {snapshot.name} is gone, unless power fails", effect="done"
                ) from error

    def commands(self, verb: str, snapshot: Snapshot) -> List[str]:
        """Return the commands in the syntax of btrfs(8), although the kernel is called directly."""
        if verb == "restore":
            self._refuse_mounted()
        kept = shlex.quote(f"{self._root.rstrip('/')}/{FOLDER}/{self._place}/{snapshot.name}")
        path = shlex.quote(self._path)
        copy = shlex.quote(f"{os.path.dirname(self._path).rstrip('/')}/.writ-RANDOM.tmp")
        return {
            "create": [f"btrfs subvolume snapshot -r {path} {kept}"],
            "restore": [
                f"btrfs subvolume snapshot {kept} {copy}",
                f"renameat2({copy}, {path}, RENAME_EXCHANGE)",
                f"btrfs subvolume delete {copy}",
            ],
            "delete": [f"btrfs subvolume delete {kept}"],
        }[verb]

    def caveat(self) -> str:
        return f"Writ cannot go back to it: {self._path} is a mount point" if self._mounted else ""

    def free(self) -> int:
        room = os.fstatvfs(self._source)
        return room.f_bavail * room.f_frsize

    def _refuse_mounted(self) -> None:
        if self._mounted:
            raise HostError("unsupported", f"{self._path} is a mount point; only subvolumes beneath one can go back")

    def _prepare(self, temporary: str) -> None:
        """Remove the snapshot's attributes from the copy, and check that the subvolume to replace is the opened one."""
        copy = os.open(temporary, _OPEN, dir_fd=self._parent)
        try:
            for attribute in (_OPERATION, _DESCRIPTION):
                with contextlib.suppress(OSError):
                    os.removexattr(copy, attribute)
        finally:
            os.close(copy)
        there = os.stat(self._name, dir_fd=self._parent, follow_symlinks=False)
        if not os.path.samestat(there, os.fstat(self._source)):
            raise HostError("digest_mismatch", f"{self._path} was exchanged by another program; nothing was done")
        calls.sync(self._parent)

    def _settle(self, temporary: str) -> str:
        """Sync after the exchange. From then on a failure has the effect."""
        try:
            calls.sync(self._parent)
            calls.destroy(self._parent, temporary)
            calls.sync(self._parent)
        except OSError as error:
            return f"the former folder could not be removed; it is {temporary}, beside the new one ({error.strerror})"
        return ""

    def _remove(self, folder: int, name: str) -> None:
        with contextlib.suppress(OSError):
            calls.destroy(folder, name)

    @contextmanager
    def _folder(self, make: bool) -> Iterator[Optional[int]]:
        """Return the folder of this subvolume's snapshots; None without one."""
        opened: List[int] = [open_folder(self._root, "")]
        try:
            for name in (FOLDER, self._place):
                following = _own_folder(opened[-1], name, make)
                if following is None:
                    yield None
                    return
                opened.append(following)
            yield opened[-1]
        finally:
            for fd in opened:
                os.close(fd)


def names_beneath(root: str) -> List[str]:
    """Return the names of all finished snapshots in this file root."""
    top = open_folder(root, "")
    try:
        kept = _own_folder(top, FOLDER, make=False)
        if kept is None:
            return []
        try:
            snapshots = [one for place in os.listdir(kept) for one in _read_place(kept, place, root)]
        finally:
            os.close(kept)
    finally:
        os.close(top)
    return [one.name for one in snapshots if one.finished]


def _read_place(kept: int, place: str, path: str) -> List[Snapshot]:
    folder = _own_folder(kept, place, make=False)
    if folder is None:
        return []
    try:
        return _read(folder, path)
    finally:
        os.close(folder)


def _read(folder: int, path: str) -> List[Snapshot]:
    snapshots: List[Snapshot] = []
    with system_errors(path):
        for name in os.listdir(folder):
            try:
                subvolume = os.open(name, _OPEN, dir_fd=folder)
            except FileNotFoundError:  # deleted just then
                continue
            try:
                if calls.is_subvolume(subvolume):
                    info = calls.info(subvolume)
                    operation, description = (_attribute(subvolume, key) for key in (_OPERATION, _DESCRIPTION))
                    snapshots.append(Snapshot(name, info.created_at, description, operation, info.uuid, info.read_only))
            finally:
                os.close(subvolume)
    return snapshots


def _own_folder(parent: int, name: str, make: bool) -> Optional[int]:
    """Return the folder; refuse one that another user could have written to."""
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, _OPEN, dir_fd=parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error(error, f"{FOLDER}/{name}") from error
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        os.close(fd)
        raise HostError("permission_denied", f"{FOLDER} must belong to this user alone (mode 0700)")
    return fd


def _attribute(fd: int, name: str) -> str:
    try:
        return os.getxattr(fd, name).decode("utf-8", "replace")
    except OSError:
        return ""


def _on_the_file_system_of(root: str, subvolume: int) -> bool:
    top = open_folder(root, "")
    try:
        return calls.file_system(top) == calls.file_system(subvolume)
    except OSError:  # not a btrfs at all
        return False
    finally:
        os.close(top)


def _mount_of(fd: int) -> str:
    """Return the kernel's mount id of a descriptor (proc(5), fdinfo)."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        return next((line.split()[1] for line in file if line.startswith("mnt_id:")), "")
