"""btrfs calls missing in Python (linux/btrfs.h), by descriptor, so no path is resolved twice.

Each raises OSError as os.* would. The numbers are those of _IOC on all architectures but alpha, mips, powerpc and
sparc.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass

SUBVOLUME_INODE = 256
"""BTRFS_FIRST_FREE_OBJECTID: the inode of the top of every subvolume."""
READ_ONLY = 1 << 1

_MAGIC = 0x94
_SYNC = _MAGIC << 8 | 8
_V1 = struct.Struct("=q4088s")
_V2 = struct.Struct("=qQQ32s4040s")
_FLAGS = struct.Struct("=Q")
_FS_INFO_SIZE = 1024
_FS_ID = slice(16, 32)
_INFO_SIZE = 504
_CREATED_AT = struct.Struct("=QI")
_CREATED_OFFSET = 392
_UUID, _ORIGIN = slice(296, 312), slice(312, 328)


def _number(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | _MAGIC << 8 | number


_SNAP_DESTROY = _number(1, 15, _V1.size)
_SNAP_CREATE = _number(1, 23, _V2.size)
_GET_FLAGS = _number(2, 25, _FLAGS.size)
_SET_FLAGS = _number(1, 26, _FLAGS.size)
_GET_FS_INFO = _number(2, 31, _FS_INFO_SIZE)
_GET_INFO = _number(2, 60, _INFO_SIZE)


@dataclass(frozen=True)
class Subvolume:
    """The kernel's data on a subvolume. `origin`: the uuid of the subvolume it is a snapshot of, else zeros."""

    uuid: str
    origin: str
    created_at: float
    read_only: bool


def snapshot(source: int, folder: int, name: str) -> None:
    """Make a writable snapshot of the subvolume `source` as `name` in `folder`; EEXIST."""
    fcntl.ioctl(folder, _SNAP_CREATE, bytearray(_V2.pack(source, 0, 0, b"", os.fsencode(name))))


def destroy(folder: int, name: str) -> None:
    """Remove the subvolume `name` of `folder` with all its content; ENOTEMPTY if it holds other subvolumes."""
    fcntl.ioctl(folder, _SNAP_DESTROY, bytearray(_V1.pack(0, os.fsencode(name))))


def set_read_only(subvolume: int) -> None:
    fcntl.ioctl(subvolume, _SET_FLAGS, bytearray(_FLAGS.pack(READ_ONLY)))


def is_subvolume(folder: int) -> bool:
    """Return whether the folder is the top of a btrfs subvolume."""
    if os.fstat(folder).st_ino != SUBVOLUME_INODE:
        return False
    try:
        fcntl.ioctl(folder, _GET_FLAGS, bytearray(_FLAGS.size))
    except OSError:
        return False
    return True


def info(subvolume: int) -> Subvolume:
    """See Subvolume; needs Linux 4.18."""
    flags, info = bytearray(_FLAGS.size), bytearray(_INFO_SIZE)
    fcntl.ioctl(subvolume, _GET_FLAGS, flags)
    fcntl.ioctl(subvolume, _GET_INFO, info)
    seconds, nanoseconds = _CREATED_AT.unpack_from(info, _CREATED_OFFSET)
    read_only = bool(_FLAGS.unpack(flags)[0] & READ_ONLY)
    return Subvolume(bytes(info[_UUID]).hex(), bytes(info[_ORIGIN]).hex(), seconds + nanoseconds / 1e9, read_only)


def file_system(folder: int) -> str:
    """Return the btrfs file system's id, the same for all its subvolumes and mounts."""
    info = bytearray(_FS_INFO_SIZE)
    fcntl.ioctl(folder, _GET_FS_INFO, info)
    return bytes(info[_FS_ID]).hex()


def sync(folder: int) -> None:
    """Wait until all earlier changes on this file system survive a power cut."""
    fcntl.ioctl(folder, _SYNC)
