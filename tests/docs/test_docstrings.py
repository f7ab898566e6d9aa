"""Docstrings name only existing files, modules, and members of the same file.

`test_names.py` checks documents, `test_commands.py` the commands in both.
"""

import ast
import re
from functools import cache
from pathlib import Path

from tests.docs.test_names import DOTTED, FILE, ROOT, exists, files

CODE = [path for top in ("libs", "services") for path in sorted((ROOT / top).rglob("*.py"))]
MEMBER = re.compile(r"`([A-Z]\w+)\.(\w+)(?:\(\))?`")
PRIVATE = re.compile(r"`(_[a-z]\w+)(?:\(\))?`")
OTHERS = {"nats-io/nats.py"}
"""A repository of someone else, not a file of ours."""
SUFFIXES = {"_total"}
"""Ends of metric names."""


@cache
def docstrings(path: Path) -> str:
    """Return all docstrings of a file; a string below an assignment documents it and counts, too."""
    tree = ast.parse(path.read_text())
    return "\n".join(
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )


@cache
def names(path: Path) -> frozenset[str]:
    """Return every name that the code of a file defines or uses, without its docstrings."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        for field in ("name", "id", "attr", "arg"):
            value = getattr(node, field, None)
            found |= {value} if isinstance(value, str) else set()
    return frozenset(found)


@cache
def classes(path: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef))


def offenders(found: dict[Path, set[str]]) -> dict[str, set[str]]:
    return {str(path.relative_to(ROOT)): wrong for path, wrong in found.items() if wrong}


def test_docstrings_name_files_that_exist() -> None:
    found = {
        path: {
            name
            for name in FILE.findall(docstrings(path))
            if name not in OTHERS and not any(known.endswith(f"/{name}") for known in files())
        }
        for path in CODE
    }
    assert offenders(found) == {}


def test_docstrings_name_modules_that_exist() -> None:
    found = {
        path: {
            name for name in DOTTED.findall(docstrings(path)) if not name.endswith((".py", ".md")) and not exists(name)
        }
        for path in CODE
    }
    assert offenders(found) == {}


def test_docstrings_name_members_that_exist() -> None:
    found = {
        path: {
            f"{owner}.{member}"
            for owner, member in MEMBER.findall(docstrings(path))
            if owner in classes(path) and member not in names(path)
        }
        | {name for name in PRIVATE.findall(docstrings(path)) if name not in names(path) | SUFFIXES}
        for path in CODE
    }
    assert offenders(found) == {}
