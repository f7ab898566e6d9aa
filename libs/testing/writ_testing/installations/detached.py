"""Ends what `writ up --detach` of a test started, when the process of that test is killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEEPER = "import os, sys; sys.stdin.read(); os.execv(sys.argv[1], sys.argv[1:])"


@contextmanager
def down_if_killed(home: Path) -> Iterator[None]:
    """Run `writ down` on this home if this process dies within the block. The keeper reads a pipe, which then ends."""
    down = [sys.executable, "-m", "writ_cli", "down", "--home", str(home)]
    with subprocess.Popen(
        [sys.executable, "-c", KEEPER, *down], stdin=subprocess.PIPE, start_new_session=True
    ) as keeper:
        try:
            yield
        finally:
            keeper.kill()
