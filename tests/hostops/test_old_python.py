"""hostops is sent to hosts with older Pythons: its sources parse as Python 3.9 and import nothing else of Writ."""

import ast
import sys
from pathlib import Path

import pytest

import writ_hostops

FOLDER = Path(writ_hostops.__file__).parent
SOURCES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.py"))


@pytest.mark.parametrize("source", SOURCES)
def test_the_source_is_python_3_9_and_needs_little(source: str) -> None:
    tree = ast.parse((FOLDER / source).read_text(), feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= {*sys.stdlib_module_names, "writ_hostops", "jeepney"}
    assert "jeepney" not in imported or source == "systemd/bus.py"
