"""The disk under the bundled NATS server: whether the streams fit, and whether the server could write last."""

import errno
import shutil
from pathlib import Path

from writ_installation.files.home import Home
from writ_nats_server.streams import Sizes

MEGABYTE = 1 << 20
LEAST = MEGABYTE
"""With less than that free, the next block of a stream may not fit."""
ROOM = 16 * MEGABYTE
"""So much must be free before a server that could not write is started again, and for a new installation."""


def free(folder: Path) -> int:
    """Return the free bytes of the folder's disk."""
    return shutil.disk_usage(folder).free


def check_room_for_new(home: Home) -> None:
    """Raises OSError (ENOSPC) where there is no installation yet, and too little room for one. Nothing is made
    before: on a full disk even a folder may fail.
    """
    if home.principals.exists():
        return
    left = free(next(one for one in (home.root, *home.root.parents) if one.exists()))
    if left < ROOM:
        text = f"its disk has {left // MEGABYTE} MB free, and a new installation needs {ROOM // MEGABYTE} MB"
        raise OSError(errno.ENOSPC, f"{text}: nothing was made", str(home.root))


def shortage(folder: Path, sizes: Sizes) -> str:
    """Return by how much the streams may outgrow the disk of their folder; nothing where they cannot."""
    most = sizes.journal + sizes.params + sizes.results + sizes.policies + sizes.scans
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    room = used + free(folder)
    if most <= room:
        return ""
    return (
        f"the streams may hold {most // MEGABYTE} MB, and the disk of {folder} has room for {room // MEGABYTE} MB: "
        "make room, or lower the sizes (sizes.json before the streams are made)"
    )


def full(folder: Path) -> str:
    """Return the error of a full disk; nothing where it is not."""
    left = free(folder)
    return f"the disk of {folder} is full: {left} bytes are free" if left < LEAST else ""
