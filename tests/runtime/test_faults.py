"""Faults: the named moment kills the process, once if asked; any other moment is nothing."""

import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = "from writ_runtime.faults import fault; fault('before'); print('on'); fault('claimed'); print('past')"


def run(**environ: str) -> tuple[int, list[str]]:
    result = subprocess.run(
        [sys.executable, "-u", "-c", SCRIPT], env=environ, check=False, capture_output=True, text=True, timeout=30
    )
    return result.returncode, result.stdout.split()


def test_nothing_happens_without_the_variable() -> None:
    assert run() == (0, ["on", "past"])


def test_the_named_moment_is_as_kill_9() -> None:
    assert run(WRIT_FAULT="claimed") == (-signal.SIGKILL, ["on"])


def test_only_the_first_to_get_there_dies_if_asked(tmp_path: Path) -> None:
    once = str(tmp_path / "once")
    assert run(WRIT_FAULT="claimed", WRIT_FAULT_ONCE=once)[0] == -signal.SIGKILL
    assert run(WRIT_FAULT="claimed", WRIT_FAULT_ONCE=once) == (0, ["on", "past"])
