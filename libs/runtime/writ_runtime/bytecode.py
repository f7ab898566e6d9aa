"""Let Python keep bytecode only where the disk has room for all of it.

Python 3.11 and 3.12 take a short write for a whole one (importlib). On a disk that fills up they leave
a `.pyc` that is cut off, and the module cannot be imported even with room again. To keep no bytecode at all would cost
each start of a service 0.4 s of processor time where an installer has compiled nothing, as uv does by default.
"""

import os
import sys

ROOM = 16 << 20
"""The bytecode of all services takes half of that."""


def has_room() -> bool:
    """Return whether the disk of the installed packages has room for their bytecode."""
    disk = os.statvfs(os.path.dirname(__file__))  # noqa: PTH120 - pathlib would be imported, and compiled, first
    return disk.f_bavail * disk.f_frsize >= ROOM


def keep_only_with_room() -> None:
    """Keep no bytecode of what is imported from now on, unless the disk has room for it."""
    if not has_room():
        sys.dont_write_bytecode = True


def environ() -> dict[str, str]:
    """Return the variable with which a new process keeps no bytecode, unless the disk has room for it."""
    return {} if has_room() and not sys.dont_write_bytecode else {"PYTHONDONTWRITEBYTECODE": "1"}
