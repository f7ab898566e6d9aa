"""A misspelt name suggests the nearest known one."""

import pytest

from writ_contracts.nearest_name import did_you_mean, near

ROLES = ("gateway", "production", "development", "maintenance", "staging", "testing")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("prodution", "; did you mean 'production'?"),
        ("prod", "; did you mean 'production'?"),
        ("st", ""),
        ("x" * 65, ""),
        ("nothing-like-it", ""),
    ],
)
def test_nearest_name_is_a_similar_one_or_the_only_one_begun(name: str, expected: str) -> None:
    assert near(name, ROLES) == expected


def test_beginning_of_several_names_suggests_none() -> None:
    assert near("web", ["web-number-one", "web-number-two"]) == ""


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a"], "; did you mean 'a'?"),
        (["a", "b"], "; did you mean 'a' or 'b'?"),
        (["a", "b", "c"], "; did you mean 'a', 'b' or 'c'?"),
    ],
)
def test_suggestions_have_one_form(names: list[str], expected: str) -> None:
    assert did_you_mean(names) == expected
