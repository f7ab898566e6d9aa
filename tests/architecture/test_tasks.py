"""Tasks are started by `writ_bus.tasks` alone, or in a group that raises their errors."""

import ast
from pathlib import Path

from tests.architecture.tree import ROOT, parsed, shown

HELPER = ROOT / "libs/bus/writ_bus/tasks.py"
PERMANENT = ("services/executor", "services/policy", "services/audit")
MODULES = sorted(
    path
    for part in ("libs", "services")
    for path in (ROOT / part).rglob("writ_*/**/*.py")
    if "writ_testing" not in path.parts
)


def calls(path: Path, name: str) -> list[ast.Call]:
    found = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    return [call for call in found if isinstance(call.func, ast.Attribute) and call.func.attr == name]


def is_of_a_group(call: ast.Call) -> bool:
    return ast.unparse(call.func) == "group.create_task"


def test_no_task_is_started_without_the_helper() -> None:
    bare = [
        f"{shown(path)}:{call.lineno}"
        for path in MODULES
        if path != HELPER
        for call in (*calls(path, "create_task"), *calls(path, "ensure_future"))
        if not is_of_a_group(call)
    ]
    assert bare == []


def test_permanent_tasks_of_services_must_not_end() -> None:
    ends = [
        f"{shown(path)}:{call.lineno}"
        for path in MODULES
        if shown(path).startswith(PERMANENT)
        for call in calls(path, "create_task")
        if not ast.unparse(call.args[0]).startswith("unending(")
    ]
    assert ends == []


def test_tasks_that_are_found_exist() -> None:
    assert sum(len(calls(path, "keep")) for path in MODULES) > 5
    assert any(is_of_a_group(call) for path in MODULES for call in calls(path, "create_task"))
