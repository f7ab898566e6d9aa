"""`writ.nodes`: operations on nodes of Proxmox VE. Made from the catalogue by `make docs`."""

from typing import Unpack

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class Nodes(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def status(self, target: str, *, timeout: int | None = None, **options: Unpack[RunOptions]) -> OperationView:
        """Show the nodes of a cluster."""
        return await self._run("node_status", target, without_none(timeout=timeout), options)
