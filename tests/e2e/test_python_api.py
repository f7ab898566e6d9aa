"""docs/python.md, every snippet in order, on an installation with its targets and principals."""

import ast
import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import structs
from tests.e2e import specification

from writ_client.client import Writ
from writ_client.groups.groups import OperationGroups
from writ_client.tools.backend_tests import BackendResult
from writ_client.tools.capability_tools import CapabilityTools
from writ_client.tools.policy_management_tools import PolicyManagementTools
from writ_contracts.catalogue import BUILT_IN, CONTROL
from writ_contracts.errors import Denied, Invalid
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGE = Path(__file__).parents[2] / "docs/python.md"
BROKEN = {"policies": {"version": "v2", "name": "broken", "global_policies": [{"name": "no_operations"}]}}
RULES: list[dict[str, Any]] = [
    {
        "name": "production_is_left_alone",
        "operations": ["service_restart"],
        "target_roles": ["production"],
        "allowed": False,
    },
    {
        "name": "production_files_need_a_person",
        "operations": ["file_write"],
        "target_roles": ["production"],
        "allowed": True,
        "requires_approval": True,
    },
    {"name": "windows_need_a_person", "operations": ["window_request"], "allowed": True, "requires_approval": True},
    {
        "name": "admins_run_the_policy",
        "operations": [one.name for one in CONTROL],
        "user_roles": ["admin"],
        "allowed": True,
    },
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("python")
    root = folder / "files"
    roles = {"web-1": "development", "dev-test-01": "development", "prod-web-01": "production"}
    targets = [local_target(name, root, role=role) for name, role in roles.items()]
    targets[1]["docker"] = {}
    people: list[tuple[str, dict[str, Any]]] = [
        ("admin", {"roles": ["admin"]}),
        ("developer", {}),
        ("lead", {"roles": ["approver"]}),
    ]
    home = prepare(folder, targets=targets, policy=open_policy(*RULES), principals=people)
    async with running_installation(folder, home=home, environ={"WRIT_RATE": "1000", "WRIT_BURST": "1000"}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client("admin") as client:
        yield client


async def test_every_snippet_of_the_page_runs(
    installation: RunningInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = installation.home.root.parent
    monkeypatch.chdir(folder)
    for name in ("admin", "lead"):
        (folder / f"{name}.json").write_text((await installation.writ("context", name, "-o", "json")).out)
    names: dict[str, Any] = {"root": str(folder / "files")}
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(snippets) >= 12
    for snippet in snippets:
        await run(snippet, names)
    assert (await asyncio.to_thread(names["main"])).output["content"] == "maintenance\n"
    assert names["steps"]
    assert names["validation"]["errors"]
    assert {name: one.status for name, one in names["test_results"].items()} == {"local": "ok"}
    assert isinstance(names["test_results"]["local"], BackendResult)
    await names["writ"].close()


async def test_every_snippet_of_the_specification_runs_but_for_what_the_page_says_is_different(
    installation: RunningInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = installation.home.root.parent
    monkeypatch.chdir(folder)
    (folder / "admin.json").write_text((await installation.writ("context", "admin", "-o", "json")).out)
    async with await installation.client("admin") as connected:
        names: dict[str, Any] = {"writ": connected, "config_data": BROKEN}
        results: list[Any] = []
        for snippet in specification.SNIPPETS:
            code = snippet.code
            for theirs, ours in snippet.replaced:
                assert theirs in code, snippet.section
                code = code.replace(theirs, ours)
            await run(code, names)
            results.append(names.get("result"))
        await names["writ"].close()
    assert results[0]["status"] == "denied"
    assert names["simulation"]["policy_evaluation"]["reason"]
    assert "service_restart" not in names["allowed"]["allowed_operations"]
    assert not names["validation"]["valid"]
    assert {name: one.status for name, one in names["test_results"].items()} == {"local": "ok"}


async def run(code: str, names: dict[str, Any]) -> None:
    """A snippet, which may await at its top level."""
    running = eval(compile(code, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.iscoroutine(running):
        await running


async def test_the_methods_of_a_kind_take_its_operations_by_either_name(admin: Writ) -> None:
    tools = CapabilityTools(admin)
    for name in ("deploy", "stack_deploy"):
        denied = await tools.execute_stack_operation(
            operation_type=name, stack_name="shop", target_id="web-1", requested_by="admin@company.com", compose="x"
        )
        assert denied["operation_type"] == "stack_deploy"
        assert denied["code"] == "unsupported", denied
    with pytest.raises(Invalid, match="no backup operation 'melt'; there are backup_create, "):
        await tools.execute_backup_operation(operation_type="melt", backup_id="x", target_id="web-1")
    with pytest.raises(Invalid, match="stack_name is given twice"):
        await tools.execute_stack_operation(
            operation_type="deploy", stack_name="shop", target_id="web-1", parameters={"stack_name": "other"}
        )


async def test_a_requester_other_than_the_key_that_connects_is_refused(admin: Writ) -> None:
    tools = CapabilityTools(admin, mail_addresses={"root@company.com": "admin", "admin@other.com": "developer"})
    for name in ("admin", "admin@company.com", "root@company.com"):
        assert (await tools.execute("test_noop", "web-1", requested_by=name))["status"] == "succeeded"
    for name in ("developer", "developer@company.com", "admin@other.com", ""):
        with pytest.raises(Denied, match="is not 'admin'"):
            await tools.execute("test_noop", "web-1", requested_by=name)


async def test_a_target_role_that_is_not_the_inventorys_is_refused(admin: Writ) -> None:
    with pytest.raises(Invalid, match="target_role: web-1 has the role development, not production"):
        await CapabilityTools(admin).simulate_operation("test_noop", "web-1", target_role="production")


async def test_an_unknown_execute_is_no_attribute_and_every_operation_has_one(admin: Writ) -> None:
    tools = CapabilityTools(admin)
    with pytest.raises(AttributeError, match="execute_nothing"):
        tools.execute_nothing  # noqa: B018
    assert {f"execute_{one.name}" for one in BUILT_IN} <= set(dir(tools))
    assert (await tools.execute_network_status(target_id="web-1", wait=60.0))["output"]["interfaces"]


@pytest.mark.parametrize("operation", [one for one in BUILT_IN if not one.control], ids=lambda one: one.name)
async def test_a_method_of_a_group_has_exactly_the_parameters_of_its_operation(operation: Any) -> None:
    calls: list[tuple[str, str, dict[str, Any]]] = []

    class Recording(OperationGroups):
        async def run(self, operation: str, target: str, parameters: Any = None, **options: Any) -> Any:
            calls.append((operation, target, dict(parameters)))

        async def with_output(self, view: Any) -> Any:
            return view

    kind, _, verb = operation.name.partition("_")
    method = getattr(getattr(Recording(), "network" if kind == "network" else f"{kind}s"), verb)
    fields = {one.encode_name: one for one in structs.fields(operation.parameters)}
    taken = inspect.signature(method).parameters
    assert next(iter(taken)) == "target"
    assert {name for name in taken if name not in ("target", "options")} == set(fields)
    required = {name for name, one in taken.items() if one.default is inspect.Parameter.empty}
    assert required - {"target", "options"} == {name for name, one in fields.items() if one.required}
    await method("t", **{name: name for name in fields})
    assert calls == [(operation.name, "t", {name: name for name in fields})]


async def test_allowed_operations_are_those_that_an_agent_can_carry_out_and_of_a_new_role_those_of_the_rules(
    admin: Writ,
) -> None:
    tools = PolicyManagementTools(admin)
    there = (await tools.list_allowed_operations(target_role="production"))["allowed_operations"]
    assert "file_delete" in there
    assert "service_restart" not in there  # a rule denies it
    assert [name for name in there if name.startswith(("container_", "stack_", "image_"))] == []  # it has no engine
    staging = await tools.list_allowed_operations(target_role="staging")
    assert {"service_restart", "container_stop"} <= set(staging["allowed_operations"])
    on_writ = await tools.list_allowed_operations(target_id="writ")
    assert "policy_publish" in on_writ["allowed_operations"]


async def test_all_mistakes_of_parameters_are_reported_at_once(admin: Writ) -> None:
    wrong = {"timeout": "soon", "servce_name": "nginx"}
    report = await CapabilityTools(admin).validate_operation_parameters("service_restart", wrong)
    assert len(report["errors"]) == 3
    named = zip(("service_name", "servce_name", "timeout"), report["errors"], strict=True)
    assert [name for name, text in named if name not in text] == []
    refused = await CapabilityTools(admin).execute("service_restart", "web-1", wrong)
    assert refused["status"] == "invalid"
    assert [text for text in report["errors"] if text not in refused["message"]] == []
