"""The logs of all processes on one terminal: read from their files, so that no process waits for us."""

import asyncio
from collections.abc import Callable
from pathlib import Path

CHECK_SECONDS = 0.2
MOST_AT_ONCE = 1 << 20

Print = Callable[[str], None]


async def follow(folder: Path, show: Print) -> None:
    """Print each whole line that is added to a log from now on, with the process's name; until cancelled."""
    read = _sizes(folder)
    try:
        while True:
            _show_new(folder, read, show)
            await asyncio.sleep(CHECK_SECONDS)
    finally:
        _show_new(folder, read, show)


def _sizes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.glob("*.log")}


def _show_new(folder: Path, read: dict[Path, int], show: Print) -> None:
    for path in sorted(folder.glob("*.log")):
        if path.stem == "up":  # what `writ up --detach` itself prints
            continue
        begin = read.get(path, 0)
        if path.stat().st_size < begin:  # it was rotated, and begins again
            begin = 0
        with path.open("rb") as file:
            file.seek(begin)
            data = file.read(MOST_AT_ONCE)
        whole = data[: data.rfind(b"\n") + 1]
        read[path] = begin + len(whole)
        for line in whole.decode(errors="replace").splitlines():
            show(f"{path.stem:12} {''.join(char if char.isprintable() else '�' for char in line)}")
