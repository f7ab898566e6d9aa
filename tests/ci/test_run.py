"""`python -m tests.ci` on a small project of its own, with real pytest processes and workers."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]
MAKEFILE = """
PYTEST_ARGS ?= -n 0
LAB_ARGS ?= -n 0
PYTEST = @{python} -m pytest -q -p no:cacheprovider -p xdist
test:
	$(PYTEST) -m "not lab and not exhaustive" $(PYTEST_ARGS)
lab:
	$(PYTEST) -m lab $(LAB_ARGS)
test-full:
	$(PYTEST) -m "not lab" $(PYTEST_ARGS)
"""
SETTINGS = """
[pytest]
testpaths = tests
addopts = --import-mode=importlib
markers =
    lab: as there
    exhaustive: as there
"""
ONCE = """
import pytest
from pathlib import Path

def first(name):
    path = Path(__file__).with_name(name)
    known = path.exists()
    path.touch()
    return not known
"""
SOUND = "def test_sound(): pass\n"
FAILS_ONCE = ONCE + "def test_once(): assert not first('once'), 'the first time'\n"


class Done(NamedTuple):
    status: int
    output: str

    @property
    def counts(self) -> str:
        return self.output.splitlines()[-1]


class Project:
    """A folder with a Makefile and tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tests/sound").mkdir(parents=True)
        (folder / "Makefile").write_text(MAKEFILE.replace("{python}", sys.executable))
        (folder / "pytest.ini").write_text(SETTINGS)
        self.write("flaky.toml", "")
        self.write("sound/test_sound.py", SOUND)

    def write(self, name: str, text: str) -> None:
        (self.folder / "tests" / name).write_text(text)

    def run(self, *arguments: str, workers: bool = False) -> Done:
        """Run it as continuous integration does."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MAKE"))}
        environ |= {"PYTEST_ARGS": "-n 2 --dist loadfile"} if workers else {}
        environ |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        command = [sys.executable, "-m", "tests.ci", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=240, check=False
        )
        return Done(done.returncode, done.stdout + done.stderr if done.stderr.startswith("Trace") else done.stdout)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_flaky_test_is_listed_with_its_first_failure_and_the_run_passes(project: Project) -> None:
    project.write("sound/test_once.py", FAILS_ONCE)
    done = project.run("test", workers=True)
    assert done.status == 0, done.output
    assert "=== FLAKY (failed, then passed alone), make test: tests/sound/test_once.py::test_once" in done.output
    assert "AssertionError: the first time" in done.output.split("=== FLAKY")[1]
    assert done.counts == "2 passed, 0 failed, 0 skipped, 1 flaky"


@pytest.mark.exhaustive
def test_flaky_test_of_the_lab_and_of_the_share_is_run_again_too(project: Project) -> None:
    for mark in ("lab", "exhaustive"):
        once = FAILS_ONCE.replace(
            "def test_once", f"@pytest.mark.{mark}\n@pytest.mark.parametrize('x', ['a b', '\"'])\ndef test_once"
        )
        project.write(
            f"sound/test_{mark}.py", once.replace("'once'", f"{mark!r}").replace("test_once()", "test_once(x)")
        )
    done = project.run("lab", "share")
    assert done.status == 0, done.output
    assert "make lab: tests/sound/test_lab.py::test_once[a b]" in done.output
    assert "a share of make test-full: tests/sound/test_exhaustive.py::test_once[a b]" in done.output
    assert done.counts == "4 passed, 0 failed, 0 skipped, 2 flaky"


@pytest.mark.exhaustive
def test_test_that_was_listed_before_fails_the_run(project: Project) -> None:
    project.write("sound/test_once.py", FAILS_ONCE)
    project.write("flaky.toml", '"tests/sound/test_once.py::test_once" = "last week"')
    done = project.run("test")
    assert done.status == 1
    assert "error: tests/sound/test_once.py::test_once is flaky and was listed before: mend it" in done.output


def test_test_that_fails_twice_fails_the_run_and_the_next_step_is_taken(project: Project) -> None:
    project.write(
        "sound/test_fails.py",
        "import pytest\ndef test_fails(): assert 1 == 2\n@pytest.mark.lab\ndef test_lab(): pass\n",
    )
    report = project.folder / "report"
    done = project.run("test", "lab", "--report", str(report))
    assert done.status == 1
    assert "assert 1 == 2" in report.read_text()
    assert report.read_text() in done.output
    assert "error: tests/sound/test_fails.py::test_fails failed: " in done.output
    assert done.counts == "2 passed, 1 failed, 0 skipped, 0 flaky"


@pytest.mark.exhaustive
def test_shared_fixture_that_fails_once_is_one_flaky_trouble(project: Project) -> None:
    shared = "@pytest.fixture(scope='module')\ndef installation(): assert not first('installation'), 'not ready'\n"
    tests = "".join(f"def test_{number}(installation): pass\n" for number in range(6))
    project.write("sound/test_house.py", ONCE + shared + tests)
    done = project.run("test")
    assert done.status == 0, done.output
    assert "test_house.py::test_0 and 5 more for the same reason" in done.output
    assert done.counts == "7 passed, 0 failed, 0 skipped, 6 flaky"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ONCE + "import os\ndef test_crash():\n    if first('crash'): os._exit(1)\n", r"the worker gw\d crashed"),
        pytest.param(
            "import none_such\n", "tests/sound/test_broken.py could not be collected", marks=pytest.mark.exhaustive
        ),
        pytest.param(
            "import os, pytest\n@pytest.fixture(autouse=True)\ndef leave(): pytest.exit('enough')\ndef test(): pass\n",
            "status",
            marks=pytest.mark.exhaustive,
        ),
    ],
    ids=["crash", "collection", "exit"],
)
def test_pytest_that_does_not_finish_fails_the_run(text: str, reason: str, project: Project) -> None:
    project.write("sound/test_broken.py", text)
    done = project.run("test", "lab", workers=True)
    assert done.status == 1
    assert re.search(f"error: make test: .*{reason}", done.output), done.output
    assert ", 0 failed" not in done.counts
    assert "] make lab" not in done.output


@pytest.mark.exhaustive
def test_share_starts_no_test_after_its_time(project: Project) -> None:
    project.write("sound/test_slow.py", f"import pytest\n@pytest.mark.exhaustive\n{SOUND}")
    done = project.run("share", "--share-seconds", "0")
    assert done.status == 0, done.output
    assert "no time was left for 1 of 1 tests" in done.output
    assert done.counts == "0 passed, 0 failed, 0 skipped, 0 flaky"
