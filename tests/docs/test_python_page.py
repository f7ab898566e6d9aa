"""docs/python.md names every public method of the Python API, and no other."""

import re
from collections import defaultdict
from collections.abc import Callable, Coroutine
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from writ_client.client import Writ
from writ_client.groups.group import OperationRunner
from writ_client.groups.groups import OperationGroups
from writ_client.groups.services import Services
from writ_client.tools.capability_tools import CapabilityTools
from writ_client.tools.policy_management_tools import PolicyManagementTools
from writ_contracts.requests import OperationView
from writ_testing.memory.bus import MemoryBus

PAGE = (Path(__file__).parents[2] / "docs/python.md").read_text()
PARTS = ("policy", "approvals", "windows", "sessions", "principals")


def public(one: object) -> set[str]:
    return {name for name in dir(one) if not name.startswith("_") and callable(getattr(one, name))}


@pytest.fixture
async def writ() -> Writ:
    return Writ(MemoryBus(), None, "alice")


def documented() -> dict[str, set[str]]:
    """Return the methods of the page's table by their owner."""
    section = PAGE.partition("## All methods\n")[2].partition("\n## ")[0]
    found: dict[str, set[str]] = defaultdict(set)
    for owner, methods in re.findall(r"^\| `([\w.]+)` \|[^|]*\| (.*) \|$", section, re.MULTILINE):
        found[owner] |= set(re.findall(r"`([^`]+)`", methods))
    return found


async def test_table_of_methods_is_that_of_the_classes(writ: Writ) -> None:
    groups = {name for name in dir(OperationGroups) if not name.startswith("_")}
    parts = {f"Writ.{name}": public(getattr(writ, name)) for name in PARTS}
    tools = public(CapabilityTools) | {"execute_<kind>_operation"}
    assert documented() == {
        "Writ": public(writ) - groups,
        **parts,
        "CapabilityTools": {re.sub("^execute_service_restart$", "execute_<operation>", name) for name in tools},
        "PolicyManagementTools": public(PolicyManagementTools),
    }


async def test_every_object_of_the_client_has_rows_in_the_table(writ: Writ) -> None:
    objects = {name for name in vars(writ) if not name.startswith("_")} - {"principal"}
    assert objects == set(PARTS)


async def test_operations_of_a_client_have_types_for_a_program(writ: Writ) -> None:
    """The types are what `make check` compares here: a program under `mypy --strict` has the same."""
    runner: OperationRunner = writ
    services: Services = writ.services
    restart: Callable[[str, str], Coroutine[Any, Any, OperationView]] = services.restart
    assert runner is writ
    assert restart.__name__ == "restart"


def test_every_group_of_operations_is_named() -> None:
    section = PAGE.partition("## Operations\n")[2].partition("\n## ")[0]
    groups = {name for name in dir(OperationGroups) if not name.startswith("_")} - {"run", "with_output"}
    assert groups <= set(re.findall(r"`(\w+)`", section))


async def test_every_method_that_the_page_calls_exists(writ: Writ) -> None:
    called = set(re.findall(r"\b(?:writ|lead|blocking\.api)\.((?:\w+\.)*\w+)\(", PAGE))
    assert len(called) > 10
    for path in sorted(called):
        assert callable(reduce(getattr, path.split("."), writ)), path
