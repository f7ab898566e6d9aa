"""A process keeps the newest directory of credentials over restarts, and never goes back."""

from pathlib import Path

import pytest
from msgspec import structs
from tests.trust.test_people import FIRST, OTHER, PEOPLE_KEY, SECOND, THIRD, enrolment, entry, version

from writ_contracts.errors import ConfigError, Unreachable, Untrusted
from writ_contracts.people.directory import PeopleDirectory, PeopleKeySuccession
from writ_contracts.signing import Signed
from writ_runtime.files.people_directory import FILE, KnownDirectory, people_keys
from writ_runtime.files.state_file import StateFile
from writ_trust.statements import read, sign

FIRST_VERSION = version(FIRST)
SECOND_VERSION = version(FIRST, structs.replace(SECOND, enrolled_at=150.0), number=2, at=150.0)


def known(folder: Path, key: str = PEOPLE_KEY.public) -> KnownDirectory:
    return KnownDirectory(StateFile(folder / FILE, Signed), people_keys(key), "")


def test_the_newest_version_is_kept_over_a_restart_and_an_older_one_refused(tmp_path: Path) -> None:
    one = known(tmp_path)
    assert one.value is None
    for each in (FIRST_VERSION, SECOND_VERSION, SECOND_VERSION):
        assert one.take(each.signed).name == each.name
    again = known(tmp_path)
    assert again.value is not None
    assert again.value.name == SECOND_VERSION.name
    with pytest.raises(Untrusted, match="its number is not higher"):
        again.take(FIRST_VERSION.signed)
    assert again.value.name == SECOND_VERSION.name


def test_a_version_that_the_known_one_follows_is_no_forgery_and_changes_nothing(tmp_path: Path) -> None:
    """A grant may name the version before: replicas of policy read their files at different moments."""
    one = known(tmp_path)
    found = [one.newest(each.signed).name for each in (FIRST_VERSION, SECOND_VERSION, FIRST_VERSION)]
    assert found == [FIRST_VERSION.name, SECOND_VERSION.name, SECOND_VERSION.name]
    strange = version(entry(enrolment("eve", THIRD), 10.0))
    for forged, why in ((strange, "is missing or was changed"), (version(at=150.0), "its time is before|time before")):
        with pytest.raises(Untrusted, match=why):
            one.newest(forged.signed)
    assert one.value is not None
    assert one.value.name == SECOND_VERSION.name


def test_without_a_pinned_key_no_directory_counts(tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="no people-key is pinned"):
        known(tmp_path, "").take(FIRST_VERSION.signed)
    with pytest.raises(Untrusted, match="not trusted for this"):
        known(tmp_path, OTHER.public).take(FIRST_VERSION.signed)


def test_another_pinned_key_begins_a_directory_of_its_own(tmp_path: Path) -> None:
    known(tmp_path).take(SECOND_VERSION.signed)
    replaced = known(tmp_path, OTHER.public)
    assert replaced.value is None
    first = sign(OTHER, PeopleDirectory(number=1, at=1.0, posture="team"))
    assert replaced.take(first).name.number == 1
    assert people_keys(f"{OTHER.public}, {PEOPLE_KEY.public}") == {OTHER.public, PEOPLE_KEY.public}


def test_a_removal_counts_also_where_it_cannot_be_kept(tmp_path: Path) -> None:
    one = known(tmp_path / "missing")
    with pytest.raises(Unreachable, match="cannot be stored here"):
        one.take(FIRST_VERSION.signed)
    assert one.value is not None
    assert one.value.name == FIRST_VERSION.name
    with pytest.raises(Unreachable, match="cannot be stored here"):
        one.take(FIRST_VERSION.signed)
    (tmp_path / "missing").mkdir()
    assert one.take(FIRST_VERSION.signed).name == FIRST_VERSION.name
    restarted = known(tmp_path / "missing")
    assert restarted.value is not None
    assert restarted.value.name == FIRST_VERSION.name


def test_a_kept_file_that_was_changed_stops_the_start(tmp_path: Path) -> None:
    known(tmp_path).take(FIRST_VERSION.signed)
    kept = tmp_path / FILE
    kept.write_bytes(kept.read_bytes().replace(b'"team"', b'"solo"'))
    with pytest.raises(ConfigError, match="is not valid"):
        known(tmp_path)


def test_successor_key_cannot_remove_kept_credentials_even_if_it_is_pinned(tmp_path: Path) -> None:
    known(tmp_path).take(SECOND_VERSION.signed)
    link = sign(PEOPLE_KEY, PeopleKeySuccession(next=OTHER.public, at=160.0))
    follows = PeopleDirectory(number=3, at=160.0, posture="team", entries=[FIRST], successions=[link])
    for pinned in (PEOPLE_KEY, OTHER):
        with pytest.raises(Untrusted, match="is missing or was changed"):
            known(tmp_path, pinned.public).take(sign(OTHER, follows))
    whole = structs.replace(follows, entries=read(SECOND_VERSION.signed, PeopleDirectory).entries)
    assert known(tmp_path, OTHER.public).take(sign(OTHER, whole)).name.number == 3
    assert known(tmp_path).value, "who pins the first key keeps what the second one signed"
