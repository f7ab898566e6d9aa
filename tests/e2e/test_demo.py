"""`make demo` goes as it says: everything that it promises to show is shown, and nothing of it is left."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from writ_testing.search import cmdline, environ, pids

PROMISED = (
    "allow",
    "digest_before",
    "digest_after",
    "nobody_deletes",
    "invalid",
    "forged_grant",
    "Nothing is left running.",
)


@pytest.mark.timeout(180)
async def test_the_demonstration_goes_as_it_says_and_leaves_nothing_running(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "writ_testing.demo"),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 150)
    assert process.returncode == 0, err.decode() + out.decode()[-2000:]
    assert [word for word in PROMISED if word not in out.decode()] == []
    assert list(tmp_path.iterdir()) == []
    assert running_in(tmp_path) == []


def running_in(folder: Path) -> list[int]:
    """Processes that were started with something of this folder."""
    others = [pid for pid in pids() if pid != os.getpid()]
    return [pid for pid in others if str(folder).encode() in cmdline(pid) + environ(pid)]
