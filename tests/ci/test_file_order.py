"""The order of files for several workers: processes and computations in turns, long ones first."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
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
        "tests/architecture/test_size.py": 0.0,
    }
    assert in_turns(files) == [
        "tests/e2e/test_scaling.py",
        "tests/architecture/test_size.py",
        "tests/e2e/test_health.py",
        "tests/rules/test_mutants.py",
        "tests/contracts/test_wire.py",
        "tests/rules/test_engine.py",
        "tests/trust/test_keys.py",
    ]


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "xdist", "-p", "tests.ci.file_order", "-p", "no:cacheprovider"),
            *(f"--rootdir={folder}", *arguments),
        ],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_plugin_orders_files_and_keeps_the_tests_of_a_file_together(tmp_path: Path) -> None:
    for folder, text in (("rules", "def test_a(): pass\n"), ("e2e", "def test_a(): pass\ndef test_b(): pass\n")):
        (tmp_path / "tests" / folder).mkdir(parents=True)
        (tmp_path / "tests" / folder / f"test_{folder}.py").write_text(text)
    done = pytest_in(tmp_path, "-q", "--collect-only", "tests/rules", "tests/e2e")
    found = [line for line in done.stdout.splitlines() if "::" in line]
    assert found == [
        "tests/e2e/test_e2e.py::test_a",
        "tests/e2e/test_e2e.py::test_b",
        "tests/rules/test_rules.py::test_a",
    ], done.stdout + done.stderr


@pytest.mark.exhaustive
def test_files_of_a_folder_that_shares_something_run_on_one_worker(tmp_path: Path) -> None:
    for folder in ("architecture", "e2e"):
        (tmp_path / "tests" / folder).mkdir(parents=True)
        for number in range(6):
            path = tmp_path / "tests" / folder / f"test_{folder}_{number}.py"
            path.write_text("def test_a(): pass\ndef test_b(): pass\ndef test_c(): pass\n")
    done = pytest_in(tmp_path, "-v", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "tests")
    ran = re.findall(r"^\[(gw\d)\].* PASSED tests/(\w+)/", done.stdout, re.MULTILINE)
    assert len(ran) == 36, done.stdout + done.stderr
    assert len({worker for worker, folder in ran if folder == "architecture"}) == 1, done.stdout
