"""A test with many cases runs them all, and names those that fail."""

import inspect
from pathlib import Path

import pytest

from writ_testing.each_case import each_case


def test_every_case_runs_and_the_failing_ones_are_named() -> None:
    ran = []

    @each_case("number", [1, 2, 3, 4], ids="number {}".format)
    def is_odd(number: int) -> None:
        ran.append(number)
        assert number % 2

    with pytest.raises(BaseExceptionGroup, match="2 of 4 cases failed: number 2, number 4") as failed:
        is_odd()
    assert ran == [1, 2, 3, 4]
    assert [error.__notes__ for error in failed.value.exceptions] == [["in case number 2"], ["in case number 4"]]


def test_a_case_that_raises_nothing_where_an_error_is_expected_fails() -> None:
    @each_case(("text", "base"), [("1", 10), ("f", 16), ("x", 10)])
    def is_no_number(text: str, base: int) -> None:
        with pytest.raises(ValueError, match="invalid literal"):
            int(text, base)

    with pytest.raises(BaseExceptionGroup, match="2 of 3 cases failed: 1-10, f-16"):
        is_no_number()


def test_fixtures_are_those_that_are_no_parameters(tmp_path: Path) -> None:
    places = []

    @each_case("name", ["a", "b"])
    @each_case("end", [".x", ".y"])
    def in_folder(tmp_path: Path, name: str, end: str) -> None:
        """Say where it is."""
        places.append((tmp_path, name + end))

    assert list(inspect.signature(in_folder).parameters) == ["tmp_path"]
    assert (in_folder.__name__, in_folder.__doc__) == ("in_folder", "Say where it is.")
    in_folder(tmp_path=tmp_path)
    assert places == [(tmp_path, "a.x"), (tmp_path, "a.y"), (tmp_path, "b.x"), (tmp_path, "b.y")]


def test_a_test_without_a_case_or_with_a_coroutine_is_refused() -> None:
    with pytest.raises(ValueError, match="no case for name"):
        each_case("name", [])

    async def waits(name: str) -> None:
        raise AssertionError(name)

    with pytest.raises(TypeError, match="waits is a coroutine"):
        each_case("name", ["a"])(waits)  # type: ignore[arg-type]


def test_interrupt_ends_the_test_at_once() -> None:
    ran = []

    @each_case("name", ["a", "b"])
    def is_interrupted(name: str) -> None:
        ran.append(name)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        is_interrupted()
    assert ran == ["a"]


def test_marks_of_the_test_stay() -> None:
    @each_case("name", ["a"])
    @pytest.mark.exhaustive
    def is_marked(name: str) -> None:
        assert name

    assert [mark.name for mark in is_marked.pytestmark] == ["exhaustive"]  # type: ignore[attr-defined]
