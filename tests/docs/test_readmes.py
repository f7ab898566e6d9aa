"""Each folder of libs/ and services/ has a README of one screen, with true file names and subjects of the registry."""

import re
from pathlib import Path

import pytest

from writ_contracts.registry import CHANNELS, Role
from writ_testing.each_case import each_case

ROOT = Path(__file__).parents[2]
ROLES = {
    "writ_executor": Role.EXECUTOR,
    "writ_policy": Role.POLICY,
    "writ_audit": Role.AUDIT,
    "writ_agent": Role.AGENT,
    "writ_client": Role.PRINCIPAL,
}
SCREEN = 55
SUBJECT = re.compile(r"`(writ\.[a-z_.{}]+)`")
FOLDERS = [
    folder
    for top in ("libs", "services")
    for folder in sorted((ROOT / top).iterdir())
    if (folder / f"writ_{folder.name}").is_dir()
]
every_package = each_case("folder", FOLDERS, ids=lambda folder: folder.name)


def readme(folder: Path) -> str:
    return (folder / "README.md").read_text()


def code(folder: Path) -> Path:
    return folder / f"writ_{folder.name}"


def test_readmes_are_checked_for_every_package() -> None:
    assert len(FOLDERS) >= 20


@every_package
def test_readme_is_one_screen_and_has_a_failure_table(folder: Path) -> None:
    text = readme(folder)
    assert text.startswith(f"# writ_{folder.name}\n")
    assert len(text.splitlines()) <= SCREEN
    assert re.search(r"^\| (fails|wrong) \| then \|$", text, re.MULTILINE)
    assert "onfiguration" in text


@pytest.mark.parametrize("name", ROLES)
def test_readme_subjects_are_those_of_the_registry(name: str) -> None:
    (folder,) = (each for each in FOLDERS if code(each).name == name)
    role = ROLES[name]
    own = {one.address for one in CHANNELS if role in (*one.senders, *one.receivers)}
    assert set(SUBJECT.findall(readme(folder))) == own


@every_package
def test_readme_names_modules_by_their_path_in_the_package(folder: Path) -> None:
    named = set(re.findall(r"`((?:[\w-]+/)*[\w-]+\.py)`", readme(folder)))
    places = (code(folder), folder, ROOT / "libs", *FOLDERS)
    assert {name for name in named if not any((place / name).is_file() for place in places)} == set()


@every_package
def test_readme_names_folders_that_exist(folder: Path) -> None:
    folders = set(re.findall(r"`([a-z_/]+)/`", readme(folder)))
    assert {name for name in folders if not (code(folder) / name).is_dir()} == set()
