"""Each lib and service has a README of one screen, and its subjects are those that the registry gives it."""

import re
from pathlib import Path

import pytest
from tests.architecture.tree import Distribution, distributions

from writ_contracts.registry import CHANNELS, Role

ROLES = {
    "writ-executor": Role.EXECUTOR,
    "writ-policy": Role.POLICY,
    "writ-audit": Role.AUDIT,
    "writ-agent": Role.AGENT,
    "writ-client": Role.PRINCIPAL,
}
SCREEN = 55
SUBJECT = re.compile(r"`(writ\.[a-z_.{}]+)`")
every_distribution = pytest.mark.parametrize("distribution", distributions(), ids=lambda each: each.name)


def readme(distribution: Distribution) -> str:
    return (distribution.folder / "README.md").read_text()


@every_distribution
def test_it_has_a_readme_of_one_screen_that_says_what_fails(distribution: Distribution) -> None:
    text = readme(distribution)
    assert text.startswith(f"# {distribution.name}\n")
    assert len(text.splitlines()) <= SCREEN
    assert re.search(r"^\| (fails|wrong) \| then \|$", text, re.MULTILINE)
    assert "onfiguration" in text


@pytest.mark.parametrize("name", ROLES)
def test_its_subjects_are_those_of_the_registry(name: str) -> None:
    (distribution,) = (each for each in distributions() if each.name == name)
    role = ROLES[name]
    mine = {one.address for one in CHANNELS if role in (*one.senders, *one.receivers)}
    assert set(SUBJECT.findall(readme(distribution))) == mine


@every_distribution
def test_the_files_that_it_names_are_its_own_or_named_in_full(distribution: Distribution) -> None:
    own = {path.name for path in distribution.modules()}
    named = set(re.findall(r"`(?:[\w-]+/)*([\w-]+\.py)`", readme(distribution)))
    folders = set(re.findall(r"`([a-z_]+)/`", readme(distribution)))
    assert named - own == set()
    assert {name for name in folders if not (Path(distribution.code) / name).is_dir()} == set()
