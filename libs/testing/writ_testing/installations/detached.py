"""Ends what `writ up --detach` of a test started, when the process of that test is killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WATCHER = "import os, sys; sys.stdin.read(); os.execv(sys.argv[1], sys.argv[1:])"


@contextmanager
def down_if_killed(home: Path) -> Iterator[None]:
    """Run `writ down` on this home if this process dies within the block: another one then sees the end of a pipe."""
    down = [sys.executable, "-m", "writ_cli", "down", "--home", str(home)]
    with subprocess.Popen(
        [sys.executable, "-c", WATCHER, *down], stdin=subprocess.PIPE, start_new_session=True
    ) as watcher:
        try:
            yield
        finally:
            watcher.kill()
