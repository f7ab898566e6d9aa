"""Replace or remove a file: all or nothing, durable, and only if it is still the same file.

A reader sees the old content or the new, never a part. After a crash at any moment the name holds one of the two; at
most `.writ-<16 hex>.lock` and `.tmp` lie beside it, and the next write or delete of that file removes them. Writers
through Writ take turns (flock on the lock file).

Against other programs: the old file is *exchanged* with the new one (RENAME_EXCHANGE) and compared once it is out of
the way; if it is not the checked file, the exchange is undone.

Limits: during the microseconds before an undo others can see the new content, and a crash then keeps it. A program with
the old file open can still write to it, which the name does not show. A file system without RENAME_EXCHANGE (NFS) has
only a check just before the rename.
"""

from __future__ import annotations

import errno
import os
import posixpath
import shlex
import stat
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Callable, Dict, Iterator, List, Optional

from writ_hostops import syscalls
from writ_hostops.encoded_text import Buffer
from writ_hostops.errors import HostError, RacedChange, system_errors
from writ_hostops.files.content import HASHED_UNASKED, FileFacts, facts_of, sha256_of, written_version_of
from writ_hostops.files.file_locks import beside, remove
from writ_hostops.files.open_beneath import FolderEntry, open_existing
from writ_hostops.protocol import at_once
from writ_hostops.stop import CancelToken
from writ_hostops.thread_call import ThreadCall

DEFAULT_MODE = 0o644
_FLAG_UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.EPERM)
# The kernel creates these again or must not keep them for other content.
_XATTRS_NOT_KEPT = ("security.capability", "security.ima", "security.evm")


@dataclass(frozen=True)
class ExistingFile:
    """The present file, opened for reading. `must_be`: the demanded digest, or ""."""

    fd: int
    status: os.stat_result
    facts: FileFacts
    must_be: str


def shown_put(place: FolderEntry, size: int, replaces: bool) -> List[str]:
    """Return the calls of `put`, for people; HostError if folder or disk would refuse them now."""
    _refuse_closed(place)
    refuse_without_room(place, size)
    temporary = posixpath.join(posixpath.dirname(place.path), beside(place, "tmp"))
    flag = "RENAME_EXCHANGE" if replaces else "RENAME_NOREPLACE"
    rename = f"renameat2({shlex.quote(temporary)}, {shlex.quote(place.path)}, {flag})"
    rest = [f"unlink({shlex.quote(temporary)})"] if replaces else []
    return [f"write {size} bytes to {shlex.quote(temporary)} and fsync it", rename, *rest]


def shown_take_away(place: FolderEntry) -> List[str]:
    """Return the calls of `take_away`, for people; HostError if they would be refused."""
    _refuse_closed(place)
    temporary = shlex.quote(posixpath.join(posixpath.dirname(place.path), beside(place, "tmp")))
    return [f"renameat2({shlex.quote(place.path)}, {temporary}, RENAME_NOREPLACE)", f"unlink({temporary})"]


def refuse_without_room(place: FolderEntry, size: int) -> None:
    """Raise HostError where the file system has less room than this, which a change only finds out at its end."""
    with system_errors(place.path):
        room = os.fstatvfs(place.folder)
    if size > room.f_bavail * room.f_frsize:
        raise HostError("no_space", f"{place.path}: the file system has no room for {size} bytes")


def _refuse_closed(place: FolderEntry) -> None:
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=place.folder, effective_ids=True):
        raise HostError("permission_denied", f"{place.path}: this user may not write to its folder")


@contextmanager
def opened_old(
    place: FolderEntry, stop: CancelToken, must_be: str, largest: int = HASHED_UNASKED
) -> Iterator[Optional[ExistingFile]]:
    """Open the present file after checking that it may be replaced or deleted; None if there is none. One larger than
    `largest` bytes is not hashed without `must_be`.
    """
    fd = open_existing(place)
    if fd is None:
        if must_be:
            raise HostError("digest_mismatch", f"{place.path} does not exist, so it has no digest")
        yield None
        return
    try:
        with system_errors(place.path):
            old = _examined(place, fd, stop, must_be, largest)
        yield old
    finally:
        os.close(fd)


def _examined(place: FolderEntry, fd: int, stop: CancelToken, must_be: str, largest: int) -> ExistingFile:
    status = os.fstat(fd)
    if status.st_nlink != 1:
        raise HostError("not_a_regular_file", f"{place.path} has {status.st_nlink} names (hard links)")
    facts = facts_of(fd, stop, always_hash=bool(must_be), largest=largest)
    if must_be and facts.digest != must_be:
        raise HostError("digest_mismatch", f"{place.path} has another digest than if_digest")
    return ExistingFile(fd, status, facts, must_be)


@contextmanager
def digested_beside(old: Optional[ExistingFile], stop: CancelToken) -> Iterator[Callable[[], Optional[FileFacts]]]:
    """Digest the old file beside the caller's work, if it was not digested and is not too large for it. The yielded
    function waits for that and returns the facts. Raises HostError if the file cannot be read.
    """
    if old is None or old.facts.digest or old.facts.size > HASHED_UNASKED:
        yield lambda: old.facts if old else None
        return
    digest = ThreadCall(lambda: sha256_of(old.fd, stop))
    try:
        yield lambda: replace(old.facts, digest=digest.result())
    finally:
        digest.wait()  # it reads from the descriptor, which is closed afterwards


def put(
    place: FolderEntry,
    temporary: str,
    old: Optional[ExistingFile],
    mode: Optional[int],
    fill: Callable[[int], None],
    stop: CancelToken,
    before_effect: Callable[[], None] = at_once,
) -> os.stat_result:
    """Create the file or replace `old`; `fill` writes the content. Owner and mode stay, unless `mode` is given.
    `before_effect` is called once the new content is on the disk beside the old one.

    Raises RacedChange if the file changed meanwhile. Whatever it raises with the effect none has left the old file in
    place.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with system_errors(place.path):
        fd = os.open(temporary, flags, 0o600, dir_fd=place.folder)
        try:
            fill(fd)
            _dress(fd, old, mode)
            os.fsync(fd)
            before_effect()
            stop.check()
            if old is None:
                _move_in(place, temporary)
            else:
                _swap_in(place, temporary, old, os.fstat(fd))
            status = os.fstat(fd)  # the rename has changed its change time
        finally:
            os.close(fd)
    _settle(place, temporary)
    return status


def take_away(place: FolderEntry, temporary: str, old: ExistingFile, stop: CancelToken) -> None:
    """Delete `old`. Raises RacedChange, undone, if it turns out to be another file."""
    stop.check()
    with system_errors(place.path):
        try:
            _rename_to_free(place, place.name, temporary)
        except FileNotFoundError:
            raise RacedChange(place.path) from None
        if not _is_still(place, temporary, old):
            with _undoing(place):
                _rename_to_free(place, temporary, place.name)
            raise RacedChange(place.path)
    _settle(place, temporary)


def write_all(fd: int, data: Buffer, stop: CancelToken) -> None:
    """Write all of `data`, a chunk at a time."""
    view = memoryview(data)
    while view:
        stop.check()
        view = view[os.write(fd, view[: 1024 * 1024]) :]


def _dress(fd: int, old: Optional[ExistingFile], mode: Optional[int]) -> None:
    if old is None:
        os.fchmod(fd, DEFAULT_MODE if mode is None else mode)
        return
    os.fchown(fd, old.status.st_uid, old.status.st_gid)
    # Not setuid and setgid: they were granted to the old content. The kernel does the same on write(2).
    os.fchmod(fd, stat.S_IMODE(old.status.st_mode) & 0o777)
    _copy_xattrs(old.fd, fd)
    if mode is not None:
        os.fchmod(fd, mode)


def _copy_xattrs(source: int, dest: int) -> None:
    expected, present = _xattrs(source), _xattrs(dest)
    for name, value in expected.items():
        if name not in _XATTRS_NOT_KEPT and present.get(name) != value:
            os.setxattr(dest, name, value)
    for name in present.keys() - expected.keys():
        # From the folder's default ACL, which the old file did not have.
        if name.startswith("system.posix_acl_"):
            os.removexattr(dest, name)


def _xattrs(fd: int) -> Dict[str, bytes]:
    try:
        return {name: os.getxattr(fd, name) for name in os.listxattr(fd)}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise


def _move_in(place: FolderEntry, temporary: str) -> None:
    try:
        _rename_to_free(place, temporary, place.name)
    except FileExistsError:
        raise RacedChange(place.path) from None


def _swap_in(place: FolderEntry, temporary: str, old: ExistingFile, new: os.stat_result) -> None:
    try:
        _exchange(place, temporary)
    except FileNotFoundError:
        raise RacedChange(place.path) from None
    except OSError as error:
        if error.errno not in _FLAG_UNKNOWN:
            raise
        _replace_after_check(place, temporary, old)
        return
    if _is_still(place, temporary, old):
        return
    with _undoing(place):
        _exchange(place, temporary)
        if not os.path.samestat(os.stat(temporary, dir_fd=place.folder, follow_symlinks=False), new):
            # A third one has already replaced ours, and so the other's: theirs is the last word.
            _exchange(place, temporary)
    raise RacedChange(place.path)


def _exchange(place: FolderEntry, temporary: str) -> None:
    syscalls.renameat2(place.folder, temporary, place.name, syscalls.RENAME_EXCHANGE)


def _rename_to_free(place: FolderEntry, old: str, new: str) -> None:
    """Rename onto a free name; EEXIST if it is taken."""
    try:
        syscalls.renameat2(place.folder, old, new, syscalls.RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in _FLAG_UNKNOWN:
            raise
        os.link(old, new, src_dir_fd=place.folder, dst_dir_fd=place.folder, follow_symlinks=False)
        os.unlink(old, dir_fd=place.folder)


def _replace_after_check(place: FolderEntry, temporary: str, old: ExistingFile) -> None:
    if not _is_still(place, place.name, old):
        raise RacedChange(place.path)
    os.rename(temporary, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)


def _is_still(place: FolderEntry, name: str, old: ExistingFile) -> bool:
    """Return whether the file at `name` is `old`, unwritten since; by its bytes if a digest was demanded.

    It neither stops nor raises: the result decides between keeping the change and undoing it.
    """
    try:
        status = os.stat(name, dir_fd=place.folder, follow_symlinks=False)
        if written_version_of(status) != written_version_of(old.status):
            return False
        return not old.must_be or sha256_of(old.fd, None) == old.must_be
    except OSError:
        return False


@contextmanager
def _undoing(place: FolderEntry) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError(
            "digest_mismatch",
            f"{place.path} was changed by another program at the same moment, and that could not be undone",
            effect="maybe",
        ) from error


def _settle(place: FolderEntry, temporary: str) -> None:
    """Remove the displaced file and sync the folder. After a failed sync nobody knows which state survives a power
    cut.
    """
    try:
        remove(place.folder, temporary)
        os.fsync(place.folder)
    except OSError as error:
        raise HostError("internal", f"{place.path}: the folder could not be synced", effect="maybe") from error
