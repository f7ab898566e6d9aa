"""`writ.snapshots`: operations on snapshots. Made from the catalogue by `make docs`."""

from typing import Unpack

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class Snapshots(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def create(
        self,
        target: str,
        snapshot_name: str,
        *,
        container_name: str | None = None,
        target_path: str | None = None,
        description: str | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Take a snapshot of a path, container or guest."""
        return await self._run(
            "snapshot_create",
            target,
            without_none(
                snapshot_name=snapshot_name,
                container_name=container_name,
                target_path=target_path,
                description=description,
                timeout=timeout,
            ),
            options,
        )

    async def list(
        self,
        target: str,
        *,
        container_name: str | None = None,
        target_path: str | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """List the snapshots of a path, container or guest."""
        return await self._run(
            "snapshot_list",
            target,
            without_none(container_name=container_name, target_path=target_path, timeout=timeout),
            options,
        )

    async def restore(
        self,
        target: str,
        snapshot_name: str,
        *,
        container_name: str | None = None,
        target_path: str | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Restore a snapshot; later changes are lost."""
        return await self._run(
            "snapshot_restore",
            target,
            without_none(
                snapshot_name=snapshot_name, container_name=container_name, target_path=target_path, timeout=timeout
            ),
            options,
        )

    async def delete(
        self,
        target: str,
        snapshot_name: str,
        *,
        container_name: str | None = None,
        target_path: str | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Delete a snapshot."""
        return await self._run(
            "snapshot_delete",
            target,
            without_none(
                snapshot_name=snapshot_name, container_name=container_name, target_path=target_path, timeout=timeout
            ),
            options,
        )
