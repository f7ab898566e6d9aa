"""Which parameters of a test are left to `make test-full`, and that plain pytest leaves out the same tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from writ_testing.exhaustive import some


def marked(parameters: list[object]) -> list[object]:
    return [one.values for one in parameters if isinstance(one, type(pytest.param())) and one.marks]


def test_all_parameters_but_the_representative_ones_are_exhaustive() -> None:
    assert marked(some(["a", "b", "c"], "b")) == [("a",), ("c",)]
    assert some(["a", "b", "c"], "b")[1] == "b"


def test_a_tuple_is_the_values_of_several_parameters() -> None:
    assert marked(some([("a", 1), ("b", 2)], ("b", 2))) == [("a", 1)]


def test_a_representative_that_is_no_parameter_is_refused() -> None:
    with pytest.raises(ValueError, match="not among the parameters: \\['d'\\]"):
        some(["a", "b"], "d")
    with pytest.raises(ValueError, match="none is representative"):
        some(["a", "b"])


FILE = """
import pytest

def test_plain(): pass

@pytest.mark.exhaustive
def test_exhaustive(): pass
"""


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        ([], ["test_plain"]),
        (["tests/test_both.py"], ["test_plain"]),
        (["tests/test_both.py", "-n", "1"], ["test_plain"]),
        (["-m", "exhaustive"], ["test_exhaustive"]),
        (["-m", "not lab"], ["test_plain", "test_exhaustive"]),
        (["tests/test_both.py::test_exhaustive"], ["test_exhaustive"]),
        (["tests/test_both.py::test_exhaustive", "-n", "1"], ["test_exhaustive"]),
    ],
)
def test_exhaustive_tests_run_only_on_request(tmp_path: Path, arguments: list[str], runs: list[str]) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tests)
    (tests / "test_both.py").write_text(FILE)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\ntestpaths = tests\nmarkers =\n    lab: as there\n    exhaustive: as there\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *arguments],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = [line for line in done.stdout.splitlines() if "PASSED" in line]
    assert [name for name in ("test_plain", "test_exhaustive") if any(f"::{name}" in line for line in passed)] == runs
