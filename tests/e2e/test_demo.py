"""`make demo` shows all that it promises and leaves nothing behind."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from writ_testing.search import cmdline, environ, pids

README = Path(__file__).parents[2] / "README.md"
VARYING = (
    (r"\b[0-9a-f]{64}\b", r"[0-9a-f]{64}"),
    (r"\b[a-z2-7]{26}\b", r"[a-z2-7]{26}"),
    (r"\bU[A-Z2-7]{11}…", r"U[A-Z2-7]{55}"),
    (r"\b[0-9a-f]{4}\\-[0-9a-f]{4}\b", r"[0-9a-f]{4}-[0-9a-f]{4}"),
    (r"process\\ \d+", r"process \d+"),
    (r"[\d\\.]+\\ m?s\b", r"[\d.]+ m?s"),
    (r"local\\-\w+(?:\\ )+", r"local-\S+ +"),
    (r"…", r".*"),
)
"""What differs from run to run, in an escaped line, and what stands for it."""
PROMISED = (
    "allow",
    "digest_before",
    "digest_after",
    "nobody_deletes",
    "did you mean",
    "only a person approves",
    "another person must decide",
    "awaiting_approval",
    "wait_for_operation",
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
    assert [line for line in shown_in_readme() if not expected(line).search(out.decode())] == []


def shown_in_readme() -> list[str]:
    """Return the lines of output in the README."""
    block = README.read_text().split("$ make demo\n")[1].split("```")[0]
    return [line for line in block.splitlines() if line.strip(" …")]


def expected(line: str) -> re.Pattern[str]:
    """Return a pattern for a line of the README in any run: ids, digests, keys, times and the host's name differ."""
    pattern = re.escape(line)
    for varying, found in VARYING:
        pattern = found.join(re.split(varying, pattern))
    return re.compile(f"^{pattern}$", re.MULTILINE)


def running_in(folder: Path) -> list[int]:
    """Return processes started from this folder."""
    others = [pid for pid in pids() if pid != os.getpid()]
    return [pid for pid in others if str(folder).encode() in cmdline(pid) + environ(pid)]
