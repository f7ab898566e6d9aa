"""Rotation of the people-key in the files: nothing is taken back, and an interrupted rotation continues."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.trust.test_people import BOB, enrolment

from writ_cli.main import cli
from writ_contracts.errors import ConfigError, Untrusted
from writ_installation.administration import people_key
from writ_installation.administration.credentials import CredentialsDirectory
from writ_installation.administration.key_list import list_keys
from writ_installation.administration.people_key import rotate_people_key
from writ_installation.files.create import create_installation, write_public
from writ_installation.files.home import PEOPLE, Home
from writ_installation.files.site import Site
from writ_installation.processes.services import environment
from writ_trust.keys import generate_seed
from writ_trust.people import open_directory


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    create_installation(made)
    made.installation_file.unlink()  # the enrolments of these tests name no installation
    return made


def enrolled(home: Home) -> str:
    first = home.people_key()
    CredentialsDirectory(home).enrol(enrolment("bob", BOB, people_key=first))
    return first


class Killed(Exception):
    """Raised in place of a process's death."""


@pytest.mark.parametrize("step", ["sync", "write_public", "save_keys"])
def test_a_rotation_that_is_killed_goes_on(home: Home, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*_: object) -> None:
        raise Killed

    first = enrolled(home)
    with monkeypatch.context() as patched:
        if step == "sync":
            patched.setattr(Path, "replace", kill)
            patched.setattr(CredentialsDirectory, "rotate_key", kill)
        else:
            patched.setattr(people_key, step, kill)
        with pytest.raises(Killed):
            rotate_people_key(home)
    made = rotate_people_key(home)
    directory = CredentialsDirectory(home)
    assert directory.current is not None
    assert directory.people_key == made.new == home.people_key() != made.old
    assert first in directory.current.keys
    assert {one.public: one.state for one in list_keys(home) if one.name == PEOPLE}[made.new] == "current"
    assert open_directory(directory.current.signed, [first], "").entries.keys() == {BOB.id}
    assert not list(home.people_seed.parent.glob("*.next.seed"))


def test_the_key_may_be_elsewhere_and_the_replaced_one_signs_no_version(home: Home, tmp_path: Path) -> None:
    enrolled(home)
    elsewhere, kept = tmp_path / "stick.seed", tmp_path / "old.seed"
    home.people_seed.rename(elsewhere)
    kept.write_bytes(elsewhere.read_bytes())
    kept.chmod(0o600)
    made = rotate_people_key(home, elsewhere)
    assert home.people_key() == made.new
    assert not home.people_seed.exists()
    with pytest.raises(ConfigError, match="is not the people-key"):
        CredentialsDirectory(home, kept).remove(BOB.id, "by the old key")
    CredentialsDirectory(home, elsewhere).remove(BOB.id, "by the new key")


def test_an_installation_without_people_can_rotate_and_still_choose_its_posture(home: Home) -> None:
    first = home.people_key()
    made = rotate_people_key(home)
    assert (made.old, made.step) == (first, "retired")
    with pytest.raises(Untrusted, match="another installation"):
        CredentialsDirectory(home).enrol(enrolment("bob", BOB))
    assert CredentialsDirectory(home).enrol(enrolment("bob", BOB, people_key=made.new)).posture == "team"


def test_list_of_credentials_says_after_a_rotation_that_there_is_none(home: Home) -> None:
    rotate_people_key(home)
    listed = CliRunner().invoke(cli, ["credential", "list", "--home", str(home.root)]).stdout
    assert listed == "version 1, posture solo\nno credential is enrolled: `writ credential request`\n"


def test_public_yaml_never_returns_to_a_former_key_of_which_a_copy_remains(home: Home, tmp_path: Path) -> None:
    first, elsewhere = home.people_key(), tmp_path / "stick.seed"
    shutil.copy2(home.people_seed, elsewhere)
    made = rotate_people_key(home, elsewhere)
    write_public(home)  # as every rotation of another key does
    assert home.people_key() == made.new != first
    home.people_seed.write_bytes(generate_seed())
    write_public(home)
    assert home.people_key() not in (made.new, first), "a key that begins a directory of its own was refused"


def test_public_yaml_gets_the_key_of_a_rotation_that_was_killed_before_it(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise Killed

    elsewhere = tmp_path / "stick.seed"
    home.people_seed.rename(elsewhere)
    with monkeypatch.context() as patched:
        patched.setattr(people_key, "write_public", kill)
        with pytest.raises(Killed):
            rotate_people_key(home, elsewhere)
    write_public(home)
    assert home.people_key() == CredentialsDirectory(home, elsewhere).people_key


def test_writ_env_follows_the_rotation_where_systemd_starts_the_services(home: Home, tmp_path: Path) -> None:
    url = "nats://127.0.0.1:4222"
    site = Site(url=url, listen="127.0.0.1", port=4222, monitor_port=8222, state=str(tmp_path / "state"))
    split = Home(home.root, site)
    split.agents.parent.mkdir(parents=True)
    split.agents.write_text("agents: []\n")
    env = home.root / "writ.env"
    env.write_text("".join(f"{name}={value}\n" for name, value in environment(split, url).items()))
    made = rotate_people_key(split)
    assert f"WRIT_PEOPLE_KEY={made.new}" in env.read_text().splitlines()
    assert made.old not in env.read_text()
