"""Only `writ_bus.tasks` starts tasks, or a group that raises their errors."""

import ast

from tests.architecture.tree import ROOT, calls_of, code, shown, task_names

HELPER = ROOT / "libs/bus/writ_bus/tasks.py"
PERMANENT = ("services/executor", "services/policy", "services/audit")
KEPT = {
    "clock": "agent/test_task_ends.py",
    "heartbeats": "agent/test_task_ends.py",
    "pull": "bus/test_task_ends.py",
    "nats watchdog": "bus/test_task_ends.py",
    "f'keep {self.name}'": "installation/test_task_ends.py",
    "keep nats": "installation/test_task_ends.py",
    "enrolment notices": "installation/test_task_ends.py",
    "idle sessions": "installation/test_task_ends.py",
    "ssh sweep": "agent_ssh/test_task_ends.py",
}
"""Tasks that are started again, and the test that breaks each."""
MODULES = [path for path in code() if "writ_testing" not in path.parts]


def is_of_a_group(call: ast.Call) -> bool:
    return ast.unparse(call.func) == "group.create_task"


def test_no_task_is_started_without_the_helper() -> None:
    bare = [
        f"{shown(path)}:{call.lineno}"
        for path in MODULES
        if path != HELPER
        for call in (*calls_of(path, "create_task"), *calls_of(path, "ensure_future"))
        if not is_of_a_group(call)
    ]
    assert bare == []


def test_permanent_tasks_of_services_must_not_end() -> None:
    ends = [
        f"{shown(path)}:{call.lineno}"
        for path in MODULES
        if shown(path).startswith(PERMANENT)
        for call in calls_of(path, "create_task")
        if not ast.unparse(call.args[0]).startswith("unending(")
    ]
    assert ends == []


def test_tasks_that_are_found_exist() -> None:
    assert sum(len(calls_of(path, "keep")) for path in MODULES) > 5
    assert any(is_of_a_group(call) for path in MODULES for call in calls_of(path, "create_task"))


def test_every_kind_of_background_task_is_known() -> None:
    """Tasks of `unending` are broken by injected exceptions in each service's test_task_ends.py, which finds them by
    itself. Of the others a new one is added here, with its test.
    """
    assert {name for top in ("libs", "services") for name in task_names(ROOT / top, "keep")} == KEPT.keys()
    assert all((ROOT / "tests" / path).is_file() for path in KEPT.values())
    unending = [path for path in MODULES if path != HELPER and calls_of(path, "unending")]
    assert {shown(path).split("/")[1] for path in unending} == {"cli", "executor", "policy", "audit"}
