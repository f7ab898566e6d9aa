"""The names of the specification: its tools have methods, and docs/python.md lists the differences."""

import inspect
import json
import re
from typing import get_args

import pytest
from click.testing import CliRunner
from tests.architecture.tree import ROOT
from tests.e2e import specification

from writ_cli.main import cli
from writ_client.tools.capability_tools import KINDS, CapabilityTools
from writ_client.tools.policy_management_tools import PolicyManagementTools
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.inventory import Role, Target
from writ_contracts.operations import Catalogue
from writ_documents import yaml_file
from writ_rules.loading import compile_document

METHODS = [name for name in specification.TOOLS if not name.startswith("execute_")]
NAMES = re.compile(r"\b(?:src(?:\.\w+)+|[A-Z]\w+[a-z](?=\()|[a-z]+_[a-z_]+(?==|\())")


def test_the_page_names_every_difference_from_the_specification() -> None:
    table = (ROOT / "docs/python.md").read_text().partition("## Names of the specification")[2]
    for snippet in specification.SNIPPETS:
        for theirs, _ in snippet.replaced:
            assert [name for name in NAMES.findall(theirs) if f"`{name}" not in table] == [], snippet.section


@pytest.mark.parametrize("name", METHODS)
def test_every_tool_of_the_specification_has_its_method(name: str) -> None:
    tools = CapabilityTools if name in vars(CapabilityTools) else PolicyManagementTools
    assert specification.TOOLS[name] <= set(inspect.signature(getattr(tools, name)).parameters)


def test_every_operation_of_the_specification_is_in_the_catalogue() -> None:
    assert set(specification.OPERATIONS) <= {one.name for one in BUILT_IN}
    kinds = {name.split("_")[1] for name in specification.TOOLS if name.endswith("_operation") and name[:3] == "exe"}
    assert kinds == set(KINDS)


def test_examples_of_parameters_are_accepted() -> None:
    known = {one.name: one for one in BUILT_IN}
    for operation, parameters in specification.PARAMETERS.items():
        known[operation].check(parameters)


def test_policy_of_the_specification_loads_with_each_of_its_keys() -> None:
    document = yaml_file.parse(specification.POLICY.encode(), "policy.yaml")
    policy, _ = compile_document(document, Catalogue(BUILT_IN), "strict")
    assert set(get_args(Role)) == set(specification.ROLES)
    (rule,) = policy.own("container_inspect", Target(id="web", role="staging", backend="docker"))
    assert "list_containers" in str(rule.conditions["container_inspect"])


def test_variables_and_files_of_the_specification_exist() -> None:
    table = (ROOT / "docs/configuration.md").read_text()
    compose = (ROOT / "docker-compose.yml").read_text()
    assert [name for name in specification.VARIABLES if f"`{name}`" not in table or name not in compose] == []
    assert [name for name in specification.FILES if not (ROOT / name).is_file()] == []


def test_command_lists_every_operation_of_the_specification() -> None:
    shown = CliRunner().invoke(cli, ["operations", "-o", "json"])
    assert set(specification.OPERATIONS) <= {one["name"] for one in json.loads(shown.stdout)}
