"""The grammar of subjects accepts what NATS accepts, and no text that could break the protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_bus.grammar import check_filter, check_subject, matches
from writ_testing.each_case import each_case

tokens = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=5)
subjects = st.lists(tokens, min_size=1, max_size=6).map(".".join)


@given(subjects)
def test_subject_made_of_tokens_matches_itself(subject: str) -> None:
    assert check_subject(subject) == check_filter(subject) == subject
    assert matches(subject, subject)
    assert matches(">", subject)


@given(st.text(max_size=20))
def test_subject_that_could_break_the_protocol_is_refused(text: str) -> None:
    try:
        check_subject(text)
    except ValueError:
        return
    assert not any(char in text for char in "*> \t\r\n\0")
    assert all(text.split("."))


@each_case(
    ("pattern", "subject", "expected"),
    [
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("*.b", "a.b", True),
        ("*.>", "a", False),
        ("a.b", "a.c", False),
        ("a.*.c", "a.b.c", True),
        ("a.*.c.>", "a.b.c", False),
    ],
)
def test_filter_with_wildcards_matches_subjects(pattern: str, subject: str, expected: bool) -> None:
    assert check_filter(pattern)
    assert matches(pattern, subject) is expected


@each_case("wrong", ["", ".", "a.", ".a", "a..b", "a.>.b", "a*", "a.b>", "> ", "a b", "a\n", "a\x00"])
def test_malformed_filter_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="not a valid subject"):
        check_filter(wrong)
