"""Archives and backups as somebody else would leave them."""

import zipfile
from collections.abc import Callable
from pathlib import Path


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy beside it whose members somebody changed."""
    with zipfile.ZipFile(path) as bundle:
        members = {name: bundle.read(name) for name in bundle.namelist()}
    change(members)
    copy = path.with_name("changed.writ")
    with zipfile.ZipFile(copy, "w") as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return copy
