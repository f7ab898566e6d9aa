"""`writ.backups`: operations on backups. Made from the catalogue by `make docs`."""

from typing import Literal, Unpack

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class Backups(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def create(
        self,
        target: str,
        backup_id: str,
        *,
        target_path: str | None = None,
        container_name: str | None = None,
        backup_type: Literal["full", "incremental"] | None = None,
        quiesce: Literal["none", "pause", "stop"] | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Back up a path or a container."""
        return await self._run(
            "backup_create",
            target,
            without_none(
                backup_id=backup_id,
                target_path=target_path,
                container_name=container_name,
                backup_type=backup_type,
                quiesce=quiesce,
                timeout=timeout,
            ),
            options,
        )

    async def list(
        self,
        target: str,
        *,
        target_path: str | None = None,
        container_name: str | None = None,
        limit: int | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """List the backups."""
        return await self._run(
            "backup_list",
            target,
            without_none(target_path=target_path, container_name=container_name, limit=limit, timeout=timeout),
            options,
        )

    async def restore(
        self,
        target: str,
        backup_id: str,
        *,
        target_path: str | None = None,
        container_name: str | None = None,
        owners: Literal["any", "folder"] | None = None,
        special_modes: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Restore a backup over the present files or data."""
        return await self._run(
            "backup_restore",
            target,
            without_none(
                backup_id=backup_id,
                target_path=target_path,
                container_name=container_name,
                owners=owners,
                special_modes=special_modes,
                timeout=timeout,
            ),
            options,
        )

    async def delete(
        self,
        target: str,
        backup_id: str,
        *,
        container_name: str | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Delete a backup."""
        return await self._run(
            "backup_delete",
            target,
            without_none(backup_id=backup_id, container_name=container_name, timeout=timeout),
            options,
        )
