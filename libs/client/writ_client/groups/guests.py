"""`writ.guests`: operations on guests of Proxmox VE. Made from the catalogue by `make docs`."""

from collections.abc import Sequence
from typing import Unpack

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class Guests(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def create(  # long: the operation has as many parameters
        self,
        target: str,
        guest_name: str,
        template: str,
        *,
        node: str | None = None,
        storage: str | None = None,
        cores: int | None = None,
        memory: int | None = None,
        disk: int | None = None,
        bridge: str | None = None,
        vlan: int | None = None,
        tags: Sequence[str] | None = None,
        pool: str | None = None,
        full: bool | None = None,
        start: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Create a guest from a template."""
        return await self._run(
            "guest_create",
            target,
            without_none(
                guest_name=guest_name,
                template=template,
                node=node,
                storage=storage,
                cores=cores,
                memory=memory,
                disk=disk,
                bridge=bridge,
                vlan=vlan,
                tags=tags,
                pool=pool,
                full=full,
                start=start,
                timeout=timeout,
            ),
            options,
        )

    async def delete(
        self,
        target: str,
        guest_name: str,
        *,
        force: bool | None = None,
        purge: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Delete a guest with its disks."""
        return await self._run(
            "guest_delete",
            target,
            without_none(guest_name=guest_name, force=force, purge=purge, timeout=timeout),
            options,
        )

    async def stop(
        self,
        target: str,
        guest_name: str,
        *,
        force: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Shut a guest down, or turn it off; nothing happens if it does not run."""
        return await self._run(
            "guest_stop", target, without_none(guest_name=guest_name, force=force, timeout=timeout), options
        )

    async def list(self, target: str, *, timeout: int | None = None, **options: Unpack[RunOptions]) -> OperationView:
        """List the guests."""
        return await self._run("guest_list", target, without_none(timeout=timeout), options)

    async def migrate(
        self,
        target: str,
        guest_name: str,
        node: str,
        *,
        online: bool | None = None,
        local_disks: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Move a guest to another node."""
        return await self._run(
            "guest_migrate",
            target,
            without_none(guest_name=guest_name, node=node, online=online, local_disks=local_disks, timeout=timeout),
            options,
        )

    async def resize(
        self,
        target: str,
        guest_name: str,
        disk: str,
        size: int,
        *,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Enlarge a disk of a guest."""
        return await self._run(
            "guest_resize", target, without_none(guest_name=guest_name, disk=disk, size=size, timeout=timeout), options
        )
