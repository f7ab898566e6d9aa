"""Counts in texts for people."""

import pytest

from writ_contracts.plural import plural


@pytest.mark.parametrize(("number", "text"), [(0, "0 events"), (1, "1 event"), (2, "2 events")])
def test_a_count_has_its_noun_in_the_singular_only_for_one(number: int, text: str) -> None:
    assert plural(number, "event") == text


def test_a_count_can_have_an_irregular_plural() -> None:
    assert (plural(1, "query", "queries"), plural(3, "query", "queries")) == ("1 query", "3 queries")
