"""The names of the specification: its tools have their methods, and docs/python.md has what is different."""

import inspect
import re

import pytest
from tests.architecture.tree import ROOT
from tests.e2e import specification

from writ_client.tools.capability_tools import KINDS, CapabilityTools
from writ_client.tools.policy_management_tools import PolicyManagementTools
from writ_contracts.catalogue import BUILT_IN

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
