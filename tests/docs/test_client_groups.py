"""The client's groups of operations are made from the catalogue: one typed method for each."""

import ast

import pytest
from docs.generate import client_groups
from tests.architecture.tree import ROOT

from writ_contracts.catalogue import BUILT_IN


def methods(path: str) -> set[str]:
    found = ast.walk(ast.parse((ROOT / path).read_text()))
    return {node.name for node in found if isinstance(node, ast.AsyncFunctionDef)}


def test_every_operation_on_targets_is_a_method_of_its_group() -> None:
    for operation in BUILT_IN:
        prefix, _, name = operation.name.partition("_")
        if not operation.control:
            assert name in methods(f"{client_groups.FOLDER}/{client_groups.GROUPS[prefix].module}.py"), operation.name


def test_an_operation_without_a_group_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_groups, "GROUPS", {"service": client_groups.GROUPS["service"]})
    with pytest.raises(LookupError, match=r"container_create: GROUPS of .*client_groups.py has no 'container'"):
        client_groups.documents()
