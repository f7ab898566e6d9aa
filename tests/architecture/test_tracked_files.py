"""The repository contains no local path, index address, key or huge file."""

import re
import subprocess
from pathlib import Path

import pytest
from tests.architecture.tree import ROOT

# Put together from pieces, so that this file does not hold what it looks for.
PATHS = re.compile("|".join([r"/work/" + "(main|shared)", "/root/" + r"\.", "/home/" + "[a-z]+/", "/opt/" + "wheels"]))
INDEXES = re.compile(
    "|".join(["files.python" + "hosted", "index-" + "url", r"pypi\." + "org/simple", "npm" + r"js\.org"])
)
SEEDS = re.compile(rb"\bS[UANOCX][A-Z2-7]{56}\b")
LARGEST = 300_000


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("pattern", [PATHS, INDEXES], ids=["path of a machine", "index address"])
def test_no_file_names_a_machines_path_or_an_index(pattern: re.Pattern[str]) -> None:
    assert lines_with(pattern) == []


def test_no_private_key_is_in_the_repository() -> None:
    assert [str(path) for path in tracked() if SEEDS.search(path.read_bytes())] == []


def test_repository_tracks_no_generated_files() -> None:
    made = re.compile(r"(^|/)(\.venv|\.writ|__pycache__|dist|node_modules)/|\.egg-info/|\.(pyc|whl|log|sqlite)$")
    assert [name for name in (str(path.relative_to(ROOT)) for path in tracked()) if made.search(name)] == []


def test_no_file_is_huge() -> None:
    assert [str(path) for path in tracked() if path.stat().st_size > LARGEST] == []


def test_scripts_that_say_how_they_run_can_be_run() -> None:
    scripts = [path for path in tracked() if path.read_bytes()[:2] == b"#!"]
    assert [str(path) for path in scripts if not path.stat().st_mode & 0o111] == []
