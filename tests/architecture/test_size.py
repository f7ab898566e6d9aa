"""Small enough to read: the bars of how we write, checked.

A function or file that reads better longer says so: `# long: why` on its first line.
"""

import ast
import re
from pathlib import Path
from statistics import median

import pytest
from tests.architecture.tree import ROOT, code, files_of_tests, functions, length, parsed, shown

LONGEST_FUNCTION, LONGEST_FILE, MEDIAN_FUNCTION = 40, 300, 8
VAGUE = re.compile("(Manager|Helper|Utils?|Base|Impl|Common)$|^(Abstract|Base)[A-Z]")
every_file = pytest.mark.parametrize("path", [*code(), *files_of_tests()], ids=shown)


def says_why(path: Path, line: int) -> bool:
    return "# long: " in path.read_text().splitlines()[line - 1]


@every_file
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(parsed(path)), "no module docstring"


@every_file
def test_a_file_is_no_longer_than_a_reader_holds(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= LONGEST_FILE or says_why(path, 1)


@every_file
def test_a_function_fits_on_a_screen(path: Path) -> None:
    long = {node.lineno: node.name for node in functions(path) if length(node) > LONGEST_FUNCTION}
    assert {line: name for line, name in long.items() if not says_why(path, line)} == {}


def test_most_functions_are_short() -> None:
    assert median(length(node) for path in code() for node in functions(path)) <= MEDIAN_FUNCTION


@every_file
def test_names_are_of_the_field(path: Path) -> None:
    vague = [node.name for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef) and VAGUE.search(node.name)]
    assert vague == []
    assert path.stem not in {"utils", "helpers", "common", "base", "misc"}


@every_file
def test_no_exception_is_swallowed_unseen(path: Path) -> None:
    silent = [
        node.lineno
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")))
        and all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)
    ]
    assert silent == []


@pytest.mark.parametrize("path", files_of_tests(), ids=shown)
def test_tests_wait_for_events_and_never_for_time(path: Path) -> None:
    sleeps = [
        node.lineno
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "sleep"
        and not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
    ]
    assert sleeps == []


def test_python_3_9_can_read_what_is_sent_to_hosts() -> None:
    for path in sorted((ROOT / "libs/hostops/writ_hostops").rglob("*.py")):
        ast.parse(path.read_text(), str(path), feature_version=(3, 9))
