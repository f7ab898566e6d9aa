"""A named fault ends the process by kill -9, on request only once, and never without a request."""

import subprocess
import sys
from pathlib import Path

CODE = "from writ_runtime.faults import fault; fault('a.moment'); print('alive')"


def run(**environ: str) -> int:
    ended = subprocess.run([sys.executable, "-c", CODE], env=environ, timeout=30, capture_output=True, check=False)
    return ended.returncode


def test_without_the_variable_nothing_happens() -> None:
    assert run() == 0
    assert run(WRIT_FAULT="another.moment") == 0


def test_fault_ends_the_process_at_its_moment() -> None:
    assert run(WRIT_FAULT="a.moment") == -9


def test_fault_with_once_ends_the_first_process_alone(tmp_path: Path) -> None:
    once = {"WRIT_FAULT": "a.moment", "WRIT_FAULT_ONCE": str(tmp_path / "once")}
    assert [run(**once), run(**once)] == [-9, 0]
