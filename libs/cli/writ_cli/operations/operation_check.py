"""Refuses a misspelt operation, and parameters that break its schema, before they become a record."""

from collections.abc import Mapping
from typing import Any

from writ_client.client import Writ
from writ_contracts.errors import Invalid
from writ_contracts.nearest_name import near
from writ_runtime.plugins import load_catalogue


async def refuse_unknown(writ: Writ, operation: str) -> None:
    """Raises Invalid (`unknown_operation`). The installation is asked: it may have other plugins."""
    catalogue = load_catalogue()
    if operation in catalogue:
        return
    offered = {name for target in await writ.targets() for name in target.operations}
    if operation not in offered:
        hint = near(operation, {*catalogue, *offered}) or "; `writ operations` lists them"
        raise Invalid(f"no operation {operation!r}{hint}", code="unknown_operation")


def refuse_wrong_parameters(operation: str, parameters: Mapping[str, Any]) -> None:
    """Raises Invalid (`invalid_parameters`) with all mistakes; an operation of the server alone is not checked."""
    definition = load_catalogue().get(operation)
    if definition is not None:
        definition.check(parameters)
