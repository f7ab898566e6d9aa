"""A misspelt name suggests the nearest known one."""

import pytest

from writ_contracts.nearest_name import did_you_mean, edits, misspelt, near, near_glob, nearest
from writ_testing.each_case import each_case

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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("restart_service", "; did you mean 'service_restart'?"),
        ("list_containers", "; did you mean 'container_list'?"),
        ("Restart-Service", "; did you mean 'service_restart'?"),
        ("list_services", ""),
    ],
)
def test_name_with_the_same_words_in_another_order_is_suggested(name: str, expected: str) -> None:
    assert near(name, ["service_restart", "container_list", "container_logs", "image_list", "file_list"]) == expected


KNOWN = ("source_path", "dest_path", "container_logs", "service_name", "overwrite")


@each_case(
    ("name", "expected"),
    [
        ("path", "; did you mean 'dest_path' or 'source_path'?"),
        ("name", "; did you mean 'service_name'?"),
        ("log", "; did you mean 'container_logs'?"),
        ("write", ""),
        ("file_path", ""),
    ],
)
def test_single_word_suggests_the_few_names_that_have_it(name: str, expected: str) -> None:
    assert near(name, KNOWN) == expected


def test_word_that_many_names_have_suggests_none() -> None:
    assert near("path", [f"{one}_of_some_path" for one in "abcde"]) != ""
    assert near("path", [f"{one}_of_some_path" for one in "abcdef"]) == ""


@each_case(
    ("glob", "expected"),
    [
        ("nodde-*", "; did you mean 'node-*'?"),
        ("nodde*", "; did you mean 'node*'?"),
        ("wbe-?", "; did you mean 'web-?'?"),
        ("db-mian-[12]", "; did you mean 'db-main-[12]'?"),
        ("nodde-1*", "; did you mean 'node-1*'?"),
        ("nodde-1", "; did you mean 'node-1'?"),
        ("wbe-[9]", ""),
        ("mail-*", ""),
        ("*-nodde", ""),
    ],
)
def test_glob_suggests_the_one_with_a_beginning_that_names_have(glob: str, expected: str) -> None:
    assert near_glob(glob, ["node-1", "node-2", "web-1", "web-2", "db-main-1"]) == expected


FAR = {
    "contractor": "operator",
    "visitor": "editor",
    "manager": "messenger",
    "testing": "tester",
    "registered": "tester",
    "printer": "intern",
    "requester": "restorer",
    "reliability": "observability",
    "staging": "training",
    "surety": "security",
    "trainer": "container",
    "author": "auditor",
}
"""Words that share letters, and mean something else."""


@each_case(("word", "known"), FAR.items())
def test_word_with_many_edits_suggests_none(word: str, known: str) -> None:
    assert near(word, [known]) == ""


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [("", "ab", 2), ("wbe", "web", 1), ("operatr", "operator", 1), ("ca", "abc", 3), ("contractor", "operator", 4)],
)
def test_edits_are_letters_inserted_deleted_replaced_or_swapped(one: str, other: str, count: int) -> None:
    assert (edits(one, other), edits(other, one)) == (count, count)


def test_nearest_name_comes_first() -> None:
    assert nearest("web-12", ["web-2222", "web-21", "web-123"], 2) == ["web-123", "web-21"]


def test_beginning_of_several_names_is_no_misspelt_one_and_suggests_them() -> None:
    known = ["web-number-two", "web-number-one"]
    assert misspelt("web", known) == ""
    assert near("web", known) == "; did you mean 'web-number-one' or 'web-number-two'?"


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
