"""`writ.tasks`: operations on tasks of Proxmox VE. Made from the catalogue by `make docs`."""

from typing import Unpack

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class Tasks(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def log(
        self,
        target: str,
        upid: str,
        *,
        lines: int | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Show the log of a task of Proxmox."""
        return await self._run("task_log", target, without_none(upid=upid, lines=lines, timeout=timeout), options)
