"""`make check` is the one definition of clean, and continuous integration calls the same targets as people do."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.architecture.tree import ROOT, files_of_tests, shown

from writ_testing.each_case import each_case
from writ_testing.peers import programs

MAKEFILE = (ROOT / "Makefile").read_text()
CI = (ROOT / ".ci/run").read_text()
CLEAN = ("ruff check", "ruff format --check", "mypy", "lint-imports", "docs.generate --check")
TARGETS = ("demo", "test", "test-full", "check", "lab", "mcp-programs", "bench", "bench-peers", "wheels", "dist")
SKIPS = re.compile(r"\b(pytest\.skip|mark\.skip|skipif|importorskip|mark\.xfail|pytest\.xfail)\b")

SKIPPED_ELSEWHERE = {
    "tests/installation/test_lock.py": "where one isn't root, who alone can give folders away; .ci/run is",
    "tests/installation/test_uninstall.py": "where one isn't root, whose an installation of the system is; .ci/run is",
    "tests/installation/test_create_installation.py": "where one is not root: only root can chown a folder; .ci/run is",
    "tests/installation/test_initial.py": "where one isn't root, who alone can give files away; .ci/run is",
    "tests/faults/test_previous_release.py": "in a clone without its history, which has no release before this one",
    "tests/e2e/test_versions.py": "in a clone without its history, which has no version before this one",
    "tests/documents/test_readers.py": "where one isn't root, who alone can give files away; .ci/run is",
    "tests/hostops/test_file_read.py": "where one isn't root, who alone can give folders away; .ci/run is",
    "tests/hostops/test_backup_restores.py": "where one isn't root, who alone has files of others; .ci/run is",
    "tests/hostops/test_process_kin.py": "where one isn't root, who alone starts processes of others; .ci/run is",
    "tests/hostops/test_restore_races.py": "where one isn't root, who alone restores what is others'; .ci/run is",
    "tests/runtime/test_freed_memory.py": "where the C library is not GNU's, and decides by itself what it keeps",
    "tests/runtime/test_metrics.py": "where there is no Linux",
}


def recipe(target: str) -> str:
    found = re.search(rf"^{target}:.*\n((?:\t.*\n|    .*\n)+)", MAKEFILE, re.MULTILINE)
    assert found, f"make has no {target}"
    return found[0]


def test_check_is_lint_format_types_layers_and_documents() -> None:
    assert [part for part in CLEAN if part not in recipe("check")] == []


def test_make_test_leaves_out_what_make_test_full_and_make_lab_are_for() -> None:
    assert '-m "not lab and not exhaustive" --ignore=tests/lab $(PYTEST_ARGS)' in recipe("test")
    assert '-m "not lab" --ignore=tests/lab $(PYTEST_ARGS)' in recipe("test-full")
    assert "-m lab $(LAB_ARGS)" in recipe("lab")


@each_case("target", TARGETS)
def test_every_target_sets_itself_up(target: str) -> None:
    assert re.match(rf"{target}: setup\b", recipe(target))


def test_make_keeps_bytecode_whatever_the_environment_says() -> None:
    probe = "probe:\n\t@python3 -c 'import sys; print(sys.dont_write_bytecode)'\n"
    done = subprocess.run(
        ["make", "-s", "-f", "Makefile", "-f", "-", "probe"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        input=probe,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


def test_make_explains_its_targets() -> None:
    output = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for target in (*TARGETS, "setup"):
        assert re.search(rf"^make {target}\s+\S", output, re.MULTILINE)


def test_continuous_integration_runs_check_test_lab_and_share() -> None:
    steps = re.findall(r"^step .*; make ([\w-]+)$", CI, re.MULTILINE)
    assert steps == ["setup", "mcp-programs", "check"]
    assert re.search(r'^"\$VENV/bin/python" -m tests.ci .* test lab share$', CI, re.MULTILINE)
    assert "set -euo pipefail" in CI


def test_no_test_is_skipped_where_continuous_integration_runs() -> None:
    mine = shown(Path(__file__))
    skipping = {shown(path) for path in files_of_tests() if shown(path) != mine and SKIPS.search(path.read_text())}
    assert skipping == set(SKIPPED_ELSEWHERE)
    assert "export TEST_PEERS=required" in CI
    assert "docker.io docker-buildx docker-cli docker-compose" in CI
    packages = CI.replace("(", " ").replace(")", " ").split()
    assert {package for package in programs.PACKAGES.values() if package not in packages} <= {"apt", "dpkg"}


def test_every_program_that_a_test_runs_has_its_package() -> None:
    texts = [path.read_text() for path in files_of_tests() if shown(path) != shown(Path(__file__))]
    named = {name for text in texts for name in re.findall(r'\bprogram\("([^"]+)"\)', text)}
    assert named >= {"docker-registry", "restic"}
    assert named - set(programs.PACKAGES) == set()


def test_a_missing_program_skips_a_test_and_fails_it_where_none_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setitem(programs.PACKAGES, "no-such-program", "none-such")
    for value, end in (("", pytest.skip.Exception), ("required", pytest.fail.Exception)):
        monkeypatch.setenv("TEST_PEERS", value)
        with pytest.raises(end, match="no no-such-program here: it is in Debian's package none-such"):
            programs.program("no-such-program")
