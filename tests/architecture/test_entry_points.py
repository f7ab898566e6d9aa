"""Entry points: short, composed by passing arguments, and importing one does nothing."""

import ast
from pathlib import Path

import pytest
from tests.architecture.tree import Package, packages, parsed, shown

from writ_testing.each_case import each_case

LONGEST = 40
SERVICES = [package for package in packages() if package.is_service]
ENTRY_POINTS = sorted(path for package in packages() for path in package.code.rglob("__main__.py"))
every_entry_point = each_case("path", ENTRY_POINTS, ids=shown)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_every_service_has_an_entry_point_and_a_configuration(service: Package) -> None:
    assert (service.code / "__main__.py").is_file()
    assert (service.code / "config.py").is_file()


@every_entry_point
def test_entry_point_is_short(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= LONGEST


@every_entry_point
def test_importing_an_entry_point_does_nothing(path: Path) -> None:
    *body, last = parsed(path).body
    assert isinstance(last, ast.If)
    assert ast.unparse(last.test) == "__name__ == '__main__'"
    allowed = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef
    others = [node.lineno for node in body[1:] if not isinstance(node, allowed)]
    assert others == []


@each_case(
    "path", [path for service in SERVICES for path in service.modules() if path.name != "__main__.py"], ids=shown
)
def test_no_service_module_acts_when_it_is_imported(path: Path) -> None:
    """A call at the top of a module may make a constant of its own, and nothing else."""
    actions = [
        node.lineno
        for node in parsed(path).body
        if isinstance(node, ast.For | ast.While | ast.With | ast.AsyncWith | ast.Try | ast.Delete)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
    ]
    assert actions == []
