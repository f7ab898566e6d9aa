"""System calls without a function in Python 3.9: openat2, renameat2, prctl. Linux only.

Each raises OSError as os.* would. Numbers: linux/arch/*/entry/syscalls; openat2 has the same one on all architectures
but alpha.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
from typing import Optional

# of openat2, in struct open_how
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

# of renameat2
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_SYS_OPENAT2 = 437
_SYS_RENAMEAT2 = {
    "x86_64": 316,
    "i386": 353,
    "i686": 353,
    "aarch64": 276,
    "riscv64": 276,
    "loongarch64": 276,
    "armv7l": 382,
    "armv6l": 382,
    "ppc64le": 357,
    "s390x": 347,
}
_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(directory: int, path: str, flags: int, resolve: int) -> int:
    """Return a new descriptor (close-on-exec) for `path` beneath `directory`; EAGAIN if a rename interfered."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    return _checked(
        _syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(directory),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
    )


def renameat2(directory: int, old: str, new: str, flags: int) -> None:
    """Rename within one directory; EINVAL if the file system lacks the flag, ENOSYS if the kernel lacks the call."""
    number = _renameat2_number()
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    _checked(
        _syscall(
            ctypes.c_long(number),
            ctypes.c_int(directory),
            ctypes.c_char_p(os.fsencode(old)),
            ctypes.c_int(directory),
            ctypes.c_char_p(os.fsencode(new)),
            ctypes.c_uint(flags),
        )
    )


def keep_freed_memory(size: int) -> None:
    """Keep up to so many freed bytes for the next allocations. Without mallopt(3), as with musl, nothing changes."""
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, size)
        mallopt(_M_TRIM_THRESHOLD, size)


def die_with_parent() -> None:
    """Have the kernel send SIGKILL to this process when its parent thread ends (prctl(2), PR_SET_PDEATHSIG)."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0))


def _renameat2_number() -> Optional[int]:
    return _SYS_RENAMEAT2.get(platform.machine())


def _checked(returned: int) -> int:
    if returned < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return returned
