"""Refuses a misspelt operation before it becomes a record."""

from writ_cli.nearest_name import near
from writ_client.client import Writ
from writ_contracts.errors import Invalid
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
