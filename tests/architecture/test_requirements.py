"""tests/requirements.toml names only tests that exist, and each test file appears in it."""

import ast
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from tests.architecture.tree import ROOT, Function, parsed

from writ_testing.each_case import each_case

MANIFEST: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "tests/requirements.toml").read_text())
NOT_SHOWN: dict[str, Any] = MANIFEST.pop("Not shown yet")
STATEMENTS: list[tuple[str, list[str]]] = [pair for chapter in MANIFEST.values() for pair in chapter.items()]
NAMED = sorted({test for _, tests in STATEMENTS for test in tests})
SUITES = sorted(ROOT.glob("libs/testing/writ_testing/suites/*.py"))


@cache
def found_in(path: Path) -> frozenset[str]:
    """Return the tests of a file by their names after `::`; inherited ones come from the suites."""
    if not path.is_file():
        return frozenset()
    own = {item.name for item in parsed(path).body if isinstance(item, Function) and item.name.startswith("test_")}
    for item in parsed(path).body:
        if isinstance(item, ast.ClassDef) and item.name.startswith("Test"):
            own |= {f"{item.name}::{name}" for name in _methods(item) | _inherited()}
    return frozenset(own)


@cache
def _inherited() -> frozenset[str]:
    classes = (item for path in SUITES for item in parsed(path).body if isinstance(item, ast.ClassDef))
    return frozenset(name for item in classes for name in _methods(item))


def _methods(item: ast.ClassDef) -> set[str]:
    return {one.name for one in item.body if isinstance(one, Function) and one.name.startswith("test_")}


@each_case("test", NAMED)
def test_every_test_that_is_named_exists(test: str) -> None:
    file, _, name = test.partition("::")
    here = found_in(ROOT / file)
    assert here, f"there is no {file} with tests in it"
    assert not name or name in here


def test_every_statement_is_shown_by_a_test_and_said_once() -> None:
    assert [statement for statement, tests in STATEMENTS if not tests or len(set(tests)) < len(tests)] == []
    assert [statement for statement, times in Counter(name for name, _ in STATEMENTS).items() if times > 1] == []


def test_every_file_of_tests_shows_something() -> None:
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")}
    unnamed = files - {test.partition("::")[0] for test in NAMED}
    assert unnamed == set(), "say in tests/requirements.toml which statement they show"


def test_requirement_without_a_test_has_a_reason_and_is_listed_once() -> None:
    assert all(isinstance(reason, str) and reason for reason in NOT_SHOWN.values())
    assert set(NOT_SHOWN) & {statement for statement, _ in STATEMENTS} == set()
