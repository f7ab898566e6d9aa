"""A people-key names the next one: clients with either pinned follow, and never go back."""

from collections.abc import Sequence

import pytest
from tests.trust.test_people import FIRST, OTHER, PEOPLE_KEY, SECOND

from writ_contracts.errors import Untrusted
from writ_contracts.people.directory import DirectoryEntry, PeopleDirectory, PeopleKeySuccession
from writ_contracts.signing import Signed
from writ_trust.keys import Key, generate_seed
from writ_trust.people import Directory, check_successor, open_directory
from writ_trust.statements import sign

THIRD_KEY, STRANGER = Key(generate_seed()), Key(generate_seed())


def link(by: Key, following: Key) -> Signed:
    return sign(by, PeopleKeySuccession(next=following.public, at=50.0))


CHAIN = [link(PEOPLE_KEY, OTHER), link(OTHER, THIRD_KEY)]


def signed(
    key: Key, successions: Sequence[Signed], *entries: DirectoryEntry, number: int = 2, pinned: Key = PEOPLE_KEY
) -> Directory:
    made = PeopleDirectory(
        number=number, at=100.0, posture="team", entries=list(entries), successions=list(successions)
    )
    return open_directory(sign(key, made), [pinned.public], "")


@pytest.mark.parametrize("pinned", [PEOPLE_KEY, OTHER, THIRD_KEY])
def test_last_people_key_is_trusted_by_agents_that_pin_an_earlier_one(pinned: Key) -> None:
    found = signed(THIRD_KEY, CHAIN, FIRST, SECOND, pinned=pinned)
    assert found.keys == (PEOPLE_KEY.public, OTHER.public, THIRD_KEY.public)
    assert len(found.entries) == 2


@pytest.mark.parametrize(
    ("key", "successions", "why"),
    [
        (PEOPLE_KEY, CHAIN, "not the last one"),
        (OTHER, CHAIN, "not the last one"),
        (THIRD_KEY, CHAIN[:1], "not the last one"),
        (THIRD_KEY, CHAIN[1:], "not trusted for this"),
        (THIRD_KEY, [link(PEOPLE_KEY, OTHER), link(PEOPLE_KEY, THIRD_KEY)], "was replaced before"),
        (PEOPLE_KEY, [link(PEOPLE_KEY, OTHER), link(OTHER, PEOPLE_KEY)], "its own successor"),
        (STRANGER, [link(STRANGER, STRANGER)], "its own successor"),
        (STRANGER, [], "not trusted for this"),
    ],
)
def test_a_key_that_was_not_named_or_was_replaced_signs_nothing(key: Key, successions: list[Signed], why: str) -> None:
    with pytest.raises(Untrusted, match=why):
        signed(key, successions)


def test_a_succession_that_was_altered_does_not_hold() -> None:
    theirs = link(PEOPLE_KEY, OTHER)
    forged = Signed(payload=link(STRANGER, STRANGER).payload, key=theirs.key, signature=theirs.signature)
    with pytest.raises(Untrusted, match="is not valid"):
        signed(STRANGER, [forged])


def test_a_version_by_an_earlier_key_or_another_succession_follows_none() -> None:
    known = signed(OTHER, CHAIN[:1])
    check_successor(signed(THIRD_KEY, CHAIN, number=3), known)
    for key, successions in ((PEOPLE_KEY, []), (STRANGER, [link(PEOPLE_KEY, STRANGER)])):
        with pytest.raises(Untrusted, match="people-key does not follow"):
            check_successor(signed(key, successions, number=3), known)
