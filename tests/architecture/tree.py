"""The tree as the architecture tests see it: packages, modules, functions. Read from the files, imported never."""

import ast
import gc
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests/example_plugin"
"""The package of docs/plugins.md."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Package(NamedTuple):
    """A lib or service."""

    folder: Path

    @property
    def name(self) -> str:
        return f"writ_{self.folder.name}"

    @property
    def is_service(self) -> bool:
        """Return true if the package runs as a process."""
        return self.folder.parent.name == "services"

    @property
    def code(self) -> Path:
        """Return the folder of the import package."""
        return self.folder / self.name

    def modules(self) -> list[Path]:
        return sorted(self.code.rglob("*.py"))


@cache
def packages() -> tuple[Package, ...]:
    """Return all packages, libs first; deploy.distributions has those shipped, by distribution."""
    folders = (folder for top in ("libs", "services") for folder in sorted((ROOT / top).iterdir()))
    return tuple(Package(folder) for folder in folders if any(folder.rglob("*.py")))


def configuration() -> dict[str, Any]:
    """The root pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(), str(path))


def parse_all() -> None:
    """Parse all files without the garbage collector, and exempt the trees from it: with it, which would visit all nodes
    of all trees many times, this takes 13 s in place of one, and each later collection a second more.
    """
    gc.collect()
    gc.disable()
    try:
        for path in (*code(), *files_of_tests()):
            parsed(path)
    finally:
        gc.freeze()
        gc.enable()


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the full names of all modules imported in a file."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return frozenset(found)


def top_names(path: Path) -> set[str]:
    """Return the packages imported by a file, without the standard library."""
    return {name.partition(".")[0] for name in imported(path)} - sys.stdlib_module_names


def code() -> list[Path]:
    """Every Python file of the libs and services."""
    return [path for package in packages() for path in package.modules()]


def files_of_tests() -> list[Path]:
    """Every Python file of the tests, the benchmarks, the generators and the builder; not the example's package, which
    is no test.
    """
    found = (path for top in ("tests", "bench", "docs", "deploy") for path in (ROOT / top).rglob("*.py"))
    return sorted(path for path in found if not path.is_relative_to(EXAMPLE / "writ_router"))


def functions(path: Path) -> Iterator[Function]:
    """Every function of a file, methods and nested ones included."""
    return (node for node in ast.walk(parsed(path)) if isinstance(node, Function))


def length(function: Function) -> int:
    """Return the number of its lines, without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function, clean=False) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def shown(path: Path) -> str:
    """A path as a person would name it."""
    return str(path.relative_to(ROOT))


@cache
def calls(path: Path) -> tuple[ast.Call, ...]:
    return tuple(node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call))


def calls_of(path: Path, name: str) -> list[ast.Call]:
    """The calls of a function of this name in a file: `name(…)` or `module.name(…)`."""
    called = ((call, call.func) for call in calls(path))
    return [call for call, func in called if getattr(func, "attr", getattr(func, "id", None)) == name]


def task_names(folder: Path, starter: str) -> set[str]:
    """Return the names of tasks started in a folder by `unending` or `keep` of `writ_bus.tasks`."""
    files = (path for path in folder.rglob("*.py") if f"{starter}(" in path.read_text())  # parses no others
    begun = (call for path in files for call in calls_of(path, starter))
    named = (call.args[0] for call in begun if ast.unparse(call.func) in (starter, f"tasks.{starter}"))
    return {str(one.value) if isinstance(one, ast.Constant) else ast.unparse(one) for one in named}
