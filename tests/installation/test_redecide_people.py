"""`writ audit redecide` accepts exactly the directory of credentials that audit accepts."""

import shutil
from pathlib import Path

import pytest
from tests.trust.test_people import BOB, enrolment

from writ_contracts.errors import Untrusted
from writ_contracts.people.directory import PeopleDirectory
from writ_contracts.wire import encode
from writ_installation.administration.credentials import CredentialsDirectory
from writ_installation.administration.people_key import rotate_people_key
from writ_installation.administration.second_decisions import people_directory
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import read, sign


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    create_installation(made)
    made.installation_file.unlink()  # the enrolments of these tests name no installation
    return made


def number(home: Home) -> int | None:
    directory = people_directory(home)
    return None if directory is None else directory.number


def test_directory_by_the_people_key_and_its_successor_is_taken(home: Home) -> None:
    assert number(home) is None
    CredentialsDirectory(home).enrol(enrolment("bob", BOB, people_key=home.people_key()))
    assert number(home) == 1
    rotate_people_key(home)
    assert number(home) == 2


def test_directory_by_another_key_or_damaged_is_refused(home: Home) -> None:
    CredentialsDirectory(home).enrol(enrolment("bob", BOB, people_key=home.people_key()))
    current = CredentialsDirectory(home).current
    assert current is not None
    version = read(current.signed, PeopleDirectory)
    home.people_file.write_bytes(encode(sign(Key(generate_seed()), version)))
    with pytest.raises(Untrusted, match="not trusted"):
        people_directory(home)
    home.people_file.write_bytes(encode(current.signed).replace(b'"alg"', b'"gla"')[:-9])
    with pytest.raises(Untrusted, match="not readable"):
        people_directory(home)


def test_removal_that_audit_has_seen_is_not_taken_back(home: Home) -> None:
    directory = CredentialsDirectory(home)
    directory.enrol(enrolment("bob", BOB, people_key=home.people_key()))
    before = home.people_file.read_bytes()
    removed = directory.remove(BOB.id, "lost")
    (home.state / "audit").mkdir(parents=True)
    shutil.copy(home.people_file, home.state / "audit" / "people.json")
    assert number(home) == 2
    home.people_file.unlink()
    assert number(home) == 2
    home.people_file.write_bytes(before)
    assert number(home) == 2
    forged = PeopleDirectory(number=3, at=removed.at + 1, posture="solo")
    home.people_file.write_bytes(encode(sign(directory._key(), forged)))
    with pytest.raises(Untrusted):
        people_directory(home)
