"""docs/threat-model.md: each named test exists, and each statement names a test or the lack of one."""

import ast
import re
from functools import cache
from pathlib import Path

from writ_testing.each_case import each_case

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "threat-model.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
STATEMENT = re.compile(r"^\| (can|cannot|noticed) \| .+ \| (.*) \|$", re.MULTILINE)


@cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@each_case(("file", "name"), NAMED)
def test_a_named_test_exists(file: str, name: str) -> None:
    assert name in functions(ROOT / file)


def test_each_statement_has_a_test_or_says_why_there_is_none() -> None:
    statements = STATEMENT.findall(TEXT)
    assert len(statements) >= 100
    assert [test for kind, test in statements if kind == "cannot" and "::" not in test] == []
    assert [test for _, test in statements if "::" not in test and not re.match(r"none: .{10}", test)] == []
