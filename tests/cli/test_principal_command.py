"""`writ principal` in a folder, without a running installation."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from writ_cli.main import cli
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_installation.files.principal_changes import principals_of


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / ".writ")
    create_installation(made)
    return made


def writ(home: Home, *words: str) -> Result:
    return CliRunner(env={"WRIT_HOME": str(home.root)}).invoke(cli, ["principal", *words])


def test_removal_of_a_principal_is_confirmed(home: Home) -> None:
    assert writ(home, "add", "bob").exit_code == 0
    refused = writ(home, "remove", "bob")
    assert (refused.exit_code, "confirm the removal of bob with --yes" in refused.stderr) == (2, True)
    assert "bob" in principals_of(home)
    assert writ(home, "remove", "bob", "--yes").exit_code == 0
    assert "bob" not in principals_of(home)
    assert not home.seed_file("principal-bob").exists()


@pytest.mark.parametrize("words", [("remove", "--yes"), ("show",), ("disable",), ("rotate",), ("roles",)])
def test_a_misspelt_principal_is_named_with_the_nearest(home: Home, words: tuple[str, ...]) -> None:
    refused = writ(home, *words, "operatr")
    assert refused.exit_code == 2
    assert refused.stderr == "writ: there is no principal 'operatr'; did you mean 'operator'?\n"
