"""One archive is in force if several were announced, before and after removals."""

import pytest
from msgspec import structs

from writ_contracts.errors import Invalid
from writ_contracts.history.archives import AnnouncedArchive, NextArchive, announced, digest_before, in_force, next_of
from writ_contracts.journal import ControlEvent

ONE = AnnouncedArchive(generation=1, first=1, last=4, digest="one", operation_id="a", at=9)
OTHER = AnnouncedArchive(generation=1, first=1, last=20, digest="other", operation_id="b", at=30)
TWO = AnnouncedArchive(generation=2, first=5, last=25, digest="two", operation_id="c", at=40)


def test_latest_archive_counts_while_its_whole_range_is_in_the_journal() -> None:
    assert in_force([], 1) is None
    assert in_force([ONE], 1) == ONE
    assert in_force([OTHER, ONE], 1) == OTHER
    assert next_of([], 1) == NextArchive(1, 1, "")
    assert next_of([ONE, OTHER], 1) == NextArchive(1, 1, "", frozenset({4, 20}))


def test_archive_that_was_taken_out_counts_despite_later_announcements() -> None:
    assert in_force([ONE, OTHER], 5) == ONE
    assert next_of([ONE, OTHER], 5) == NextArchive(2, 5, "one")
    assert next_of([ONE, OTHER], 21) == NextArchive(2, 21, "other")
    assert next_of([ONE, OTHER, TWO], 5) == NextArchive(2, 5, "one", frozenset({25}))
    assert digest_before([ONE, OTHER, TWO], TWO) == "one"


def test_range_that_is_partly_removed_allows_no_other_archive() -> None:
    assert in_force([OTHER], 5) == OTHER
    with pytest.raises(Invalid, match="partly in the journal"):
        next_of([OTHER], 5)


def test_next_archive_begins_behind_events_that_the_journal_lost() -> None:
    assert next_of([], 3) == NextArchive(1, 3, "")
    assert in_force([OTHER, ONE], 24) == OTHER
    assert in_force([OTHER, structs.replace(ONE, at=50)], 24) == OTHER  # an announcement that came too late
    assert next_of([ONE, OTHER], 24) == NextArchive(2, 24, "other")
    three = AnnouncedArchive(generation=2, first=24, last=30, digest="three", operation_id="d", at=60)
    assert digest_before([ONE, OTHER, three], three) == "other"
    assert next_of([ONE, OTHER, three], 31) == NextArchive(3, 31, "three")


def test_event_without_an_archive_is_refused() -> None:
    event = ControlEvent(
        id="1", at=1.0, correlation_id="c", kind="journal_archive", principal="alice", operation_id="a", body={}
    )
    with pytest.raises(Invalid, match="event 7 describes no archive"):
        announced(event, 7, b"")
