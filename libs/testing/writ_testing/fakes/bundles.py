"""Archives and backups with foreign changes."""

import zipfile
from collections.abc import Callable
from pathlib import Path


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write a copy with changed members beside the original."""
    with zipfile.ZipFile(path) as bundle:
        members = {name: bundle.read(name) for name in bundle.namelist()}
    change(members)
    copy = path.with_name("changed.writ")
    with zipfile.ZipFile(copy, "w") as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return copy
