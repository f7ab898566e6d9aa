"""Cores are plain functions over frozen data: no I/O, clock, environment, randomness or logging."""

import ast
import re
from pathlib import Path

from tests.architecture.tree import ROOT, imported, parsed, shown

from writ_testing.each_case import each_case

CORES = (
    "libs/contracts/writ_contracts",
    "libs/trust/writ_trust",
    "libs/rules/writ_rules/engine",
    "libs/rules/writ_rules/analysis",
    "libs/rules/writ_rules/lint",
    "libs/rules/writ_rules/values",
    "libs/agent/writ_agent/verification.py",
    "libs/hostops/writ_hostops/systemd/judgement.py",
    "libs/runtime/writ_runtime/buckets.py",
    "services/audit/writ_audit/projection.py",
    "services/executor/writ_executor/admission/refusal_counts.py",
    "services/executor/writ_executor/requests/views.py",
    "services/executor/writ_executor/steps/overdue.py",
    "services/policy/writ_policy/decisions/rulings.py",
    "services/policy/writ_policy/starts.py",
)
"""Folders and single modules."""
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
NO_IMPORT = {
    "asyncio",
    "http",
    "logging",
    "multiprocessing",
    "pathlib",
    "random",
    "secrets",
    "select",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
    "writ_bus",
    "writ_runtime",
}
NO_CALL = {"open", "print", "input"}
NO_ATTRIBUTE = {"datetime.now", "datetime.utcnow", "date.today", "os.environ", "os.getenv", "os.open", "sys.stdout"}


def modules() -> list[Path]:
    return [path for core in CORES for path in _modules_of(ROOT / core)]


def _modules_of(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


every_core_module = each_case("path", modules(), ids=shown)


def test_each_listed_core_exists() -> None:
    assert [core for core in CORES if not _modules_of(ROOT / core)] == []


def test_cores_of_the_architecture_page_are_checked() -> None:
    named = re.findall(r"^- `(writ_[\w.]+)\.\w+`: ", ARCHITECTURE, re.MULTILINE)
    assert len(named) >= 4
    checked = {shown(path).split("/", 2)[2].removesuffix(".py").replace("/", ".") for path in modules()}
    assert set(named) <= checked


@every_core_module
def test_a_core_imports_nothing_that_does_io(path: Path) -> None:
    assert {name.partition(".")[0] for name in imported(path)} & NO_IMPORT == set()


@every_core_module
def test_a_core_reads_neither_clock_nor_environment(path: Path) -> None:
    uses = [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and ".".join(ast.unparse(node).split(".")[-2:]) in NO_ATTRIBUTE
    ]
    assert uses == []


@every_core_module
def test_a_core_neither_opens_nor_prints_and_is_never_async(path: Path) -> None:
    calls = [
        node.lineno
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NO_CALL)
        or isinstance(node, ast.AsyncFunctionDef | ast.Await)
    ]
    assert calls == []
