"""Schemas of all tools against an independent validator, and results against their schemas."""

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from tests.e2e import specification
from tests.gateway.conftest import serving

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import Invalid
from writ_contracts.operations import Catalogue
from writ_gateway.schemas import input_schema
from writ_gateway.server import described
from writ_gateway.toolbox import Toolbox
from writ_testing.installations.installation import RunningInstallation

CATALOGUE = Catalogue(BUILT_IN)
TOOLS = list(Toolbox(CATALOGUE, "full"))
BY_NAME = {tool.name: tool for tool in TOOLS}
EXAMPLES: dict[str, dict[str, Any]] = {
    "service_restart": {"service_name": "nginx"},
    "container_create": {"container_name": "web", "image": "nginx:1.27", "ports": ["80:80"], "memory": 64},
    "stack_deploy": {"stack_name": "shop", "compose": "services: {}", "env": {"A": "b"}},
    "file_write": {"file_path": "/srv/a", "content": "x", "mode": "0644"},
    "network_scan": {"cidr": "192.0.2.0/30", "ports": [22]},
    "package_install": {"package_name": "curl", "version": "1.2-3"},
    "backup_create": {"backup_id": "b", "target_path": "/srv"},
    "package_list": {"upgradable": True},
}


def test_every_schema_is_json_schema_without_references_and_every_name_fits_all_clients() -> None:
    for tool in TOOLS:
        for schema in (tool.schema, tool.output):
            jsonschema.Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"
            assert not re.search(r"\$ref|\$defs", repr(schema)), tool.name
        assert tool.schema["additionalProperties"] is False
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool.name)
    names = [tool.name for tool in TOOLS]
    assert len(set(names)) == len(names)


def test_every_result_says_that_a_marked_field_may_only_quote_a_host() -> None:
    """A reason of policy is policy's text, and may quote a parameter or a name that an agent read on the host."""
    for tool in TOOLS:
        marked = tool.output["properties"]["untrusted"]
        assert "may come from a host, or quote one as a reason of policy may" in marked["description"], tool.name


def test_every_tool_of_the_specification_is_there_and_takes_its_arguments() -> None:
    for name, arguments in specification.TOOLS.items():
        assert arguments <= set(BY_NAME[name].schema["properties"]), name
    for operation in specification.OPERATIONS:
        properties = BY_NAME[f"execute_{operation}"].schema["properties"]
        assert {"target_id", "requested_by", "timeout", "dry_run"} <= set(properties), operation


def test_every_operation_on_targets_has_a_tool_and_no_control_operation_has() -> None:
    names = {tool.name for tool in TOOLS}
    assert {one.name for one in BUILT_IN if f"execute_{one.name}" in names} == {
        one.name for one in BUILT_IN if not one.control
    }


def test_the_container_that_a_call_shows_is_the_one_that_is_requested() -> None:
    call: Any = SimpleNamespace(session=SimpleNamespace(catalogue=CATALOGUE))
    body = {"target_id": "web-1", "operation_type": "stop", "container_name": "cache"}
    with pytest.raises(Invalid, match="container_name is given twice"):
        asyncio.run(BY_NAME["execute_container_operation"].run(call, {**body, "parameters": {"container_name": "db"}}))  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="no container operation 'melt'; there are container_create, "):
        asyncio.run(BY_NAME["execute_container_operation"].run(call, {**body, "operation_type": "melt"}))  # type: ignore[arg-type]


def test_annotations_are_those_of_the_catalogue() -> None:
    by_name = {tool.name: described(tool, "full") for tool in TOOLS}
    for operation in BUILT_IN:
        if operation.control:
            continue
        hints = by_name[f"execute_{operation.name}"].annotations
        assert hints is not None
        assert hints.read_only_hint == operation.read_only
        assert hints.destructive_hint == (None if operation.read_only else True)
        assert hints.idempotent_hint == (None if operation.read_only else operation.idempotent)
        assert hints.open_world_hint is False


@pytest.mark.parametrize("operation", EXAMPLES)
def test_the_schema_of_parameters_and_the_catalogue_agree(operation: str) -> None:
    definition = CATALOGUE[operation]
    validator = jsonschema.Draft202012Validator(input_schema(definition.parameters))
    good = EXAMPLES[operation]
    definition.check(good)
    assert validator.is_valid(good)
    bad = [{**good, "surprise": 1}, {**good, "timeout": "7"}, {**good, "timeout": 0}]
    bad += [
        {name: value for name, value in good.items() if name != gone}
        for gone in input_schema(definition.parameters).get("required", ())
    ]
    bad += [
        {**good, name: f"{value}\n"}
        for name, value in good.items()
        if name.endswith("_name") and isinstance(value, str)
    ]
    for parameters in bad:
        assert not validator.is_valid(parameters), parameters
        with pytest.raises(Invalid):
            definition.check(parameters)


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("search_operations", {}),
    ("describe_operation", {"operation_type": "file_read"}),
    ("list_targets", {}),
    ("read", {"operation_type": "test_noop", "target_id": "web-1"}),
    ("read", {"operation_type": "test_noop", "target_id": "nowhere"}),
    ("preview_operation", {"operation_type": "test_fail", "target_id": "web-1"}),
    ("request_operation", {"operation_type": "test_fail", "target_id": "web-1", "reason": "fail"}),
    ("execute_test_noop", {"target_id": "web-1", "requested_by": "bot@example.com"}),
    ("execute_test_noop", {"target_id": "web-1", "requested_by": "alice"}),
    ("execute_container_operation", {"target_id": "web-1", "operation_type": "inspect", "container_name": "none"}),
    ("simulate_operation", {"operation_type": "test_noop", "target_id": "db-1", "target_role": "production"}),
    ("simulate_operation", {"operation_type": "test_noop", "target_id": "db-1", "target_role": "staging"}),
    ("explain_decision", {"operation_type": "test_count", "target_id": "db-1", "parameters": {"path": "x"}}),
    ("validate_operation_parameters", {"operation_type": "service_restart", "parameters": {"service_name": "nginx"}}),
    ("validate_operation_parameters", {"operation_type": "service_restart", "parameters": {"timeout": 1}}),
    ("get_policy_status", {}),
    ("list_allowed_operations", {"target_role": "development"}),
    ("validate_policy_config", {"config_data": "policies: 7"}),
    ("get_policy_history", {}),
    ("simulate_policy_scenario", {"operation_type": "test_noop", "target_ids": ["web-1"]}),
    ("simulate_policy_scenario", {"operation_type": "test_noop", "target_role": "production", "user_id": "bot@a.b"}),
    ("simulate_policy_scenario", {"operation_type": "test_noop"}),
    ("list_my_operations", {"open_only": False}),
    ("list_my_operations", {}),
    ("get_operation_status", {"operation_id": "a" * 26}),
    ("get_trace", {"operation_id": "a" * 26}),
]


@pytest.mark.asyncio(loop_scope="module")
async def test_every_result_fits_the_schema_of_its_tool(installation: RunningInstallation, files: Path) -> None:
    async with serving(installation, "full") as client:
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        for tool, arguments in CALLS:
            result = await client.call_tool(tool, arguments)
            schema = schemas[tool]
            assert schema is not None
            jsonschema.validate(result.structured_content, schema)
            assert set(result.structured_content) - set(schema["properties"]) <= EXTRA, (
                tool,
                result.structured_content,
            )


EXTRA = {
    "at", "requested_by", "dry_run", "timeout", "limits", "emergency", "needs", "trace_omitted", "target_role",
    "user_id", "version", "label", "dry_run_only", "stored", "control_sequence", "inventory_digest",
    "principals_digest", "notes", "error", "rules", "name", "operation_type", "next",
}  # fmt: skip
"""Fields of answers that schemas of the policy's tools leave open."""
