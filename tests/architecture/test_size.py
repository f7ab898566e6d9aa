"""Bars on the size of functions and files.

A function or file which reads better longer gives the reason: `# long: why` on its first line.
"""

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from tests.architecture.tree import ROOT, code, files_of_tests, functions, length, parsed, shown

LONGEST_FUNCTION, LONGEST_FILE, MEDIAN_FUNCTION = 40, 350, 8
VAGUE = re.compile("(Manager|Helper|Utils?|Base|Impl|Common)$|^(Abstract|Base)[A-Z]")
FILES = (*code(), *files_of_tests())


def found(bad: Callable[[Path], object], files: Sequence[Path] = FILES) -> dict[str, object]:
    """Return the faults by file. One test covers all files; a test for each would be 5,000 tests."""
    return {shown(path): finding for path in files if (finding := bad(path))}


def says_why(path: Path, line: int) -> bool:
    return "# long: " in path.read_text().splitlines()[line - 1]


def test_a_module_says_what_it_is() -> None:
    assert found(lambda path: not ast.get_docstring(parsed(path)) and "no module docstring") == {}


def test_a_file_is_no_longer_than_a_reader_holds() -> None:
    def long(path: Path) -> int:
        lines = path.read_text().count("\n")
        return 0 if lines <= LONGEST_FILE or says_why(path, 1) else lines

    assert found(long) == {}


def test_a_function_fits_on_a_screen() -> None:
    def long(path: Path) -> dict[int, str]:
        every = {node.lineno: node.name for node in functions(path) if length(node) > LONGEST_FUNCTION}
        return {line: name for line, name in every.items() if not says_why(path, line)}

    assert found(long) == {}


def test_most_functions_are_short() -> None:
    assert median(length(node) for path in code() for node in functions(path)) <= MEDIAN_FUNCTION


def test_names_are_of_the_field() -> None:
    def vague(path: Path) -> list[str]:
        classes = [node.name for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)]
        files = [path.stem] if path.stem in {"utils", "helpers", "common", "base", "misc"} else []
        return files + [name for name in classes if VAGUE.search(name)]

    assert found(vague) == {}


def test_no_exception_is_swallowed_unseen() -> None:
    def silent(path: Path) -> list[int]:
        return [
            node.lineno
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.ExceptHandler)
            and (
                node.type is None
                or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
            )
            and all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)
        ]

    assert found(silent) == {}


def test_tests_wait_for_events_and_never_for_time() -> None:
    def sleeps(path: Path) -> list[int]:
        return [
            node.lineno
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "sleep"
            and not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0)
        ]

    assert found(sleeps, files_of_tests()) == {}


def test_python_3_9_can_read_what_is_sent_to_hosts() -> None:
    for path in sorted((ROOT / "libs/hostops/writ_hostops").rglob("*.py")):
        ast.parse(path.read_text(), str(path), feature_version=(3, 9))
