"""The order of files for several workers: processes and computations in turns, long ones first."""

import subprocess
import sys
from pathlib import Path

from tests.ci.file_order import in_turns

ROOT = Path(__file__).parents[2]


def test_files_with_processes_take_turns_with_the_others_and_long_ones_come_first() -> None:
    files = {
        "tests/contracts/test_wire.py": 0.0,
        "tests/e2e/test_health.py": 0.0,
        "tests/e2e/test_scaling.py": 240.0,
        "tests/rules/test_engine.py": 0.0,
        "tests/rules/test_mutants.py": 300.0,
        "tests/trust/test_keys.py": 0.0,
    }
    assert in_turns(files) == [
        "tests/e2e/test_scaling.py",
        "tests/rules/test_mutants.py",
        "tests/e2e/test_health.py",
        "tests/contracts/test_wire.py",
        "tests/rules/test_engine.py",
        "tests/trust/test_keys.py",
    ]


def test_plugin_orders_files_and_keeps_the_tests_of_a_file_together(tmp_path: Path) -> None:
    for folder, text in (("rules", "def test_a(): pass\n"), ("e2e", "def test_a(): pass\ndef test_b(): pass\n")):
        (tmp_path / "tests" / folder).mkdir(parents=True)
        (tmp_path / "tests" / folder / f"test_{folder}.py").write_text(text)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.ci.file_order", "-p", "no:cacheprovider", "-q"),
            *("--collect-only", f"--rootdir={tmp_path}", "tests/rules", "tests/e2e"),
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = [line for line in done.stdout.splitlines() if "::" in line]
    assert found == [
        "tests/e2e/test_e2e.py::test_a",
        "tests/e2e/test_e2e.py::test_b",
        "tests/rules/test_rules.py::test_a",
    ], done.stdout + done.stderr
