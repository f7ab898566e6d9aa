"""`writ.stacks`: operations on compose stacks. Made from the catalogue by `make docs`."""

from collections.abc import Mapping, Sequence
from typing import Unpack

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class Stacks(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def deploy(  # long: the operation has as many parameters
        self,
        target: str,
        stack_name: str,
        *,
        allow_privileged: bool | None = None,
        allow_host_network: bool | None = None,
        allow_devices: bool | None = None,
        allow_capabilities: bool | None = None,
        allow_host_mounts: bool | None = None,
        allow_engine_socket: bool | None = None,
        only_images: Sequence[str] | None = None,
        only_ports: Sequence[str] | None = None,
        only_mounts: Sequence[str] | None = None,
        only_networks: Sequence[str] | None = None,
        only_capabilities: Sequence[str] | None = None,
        allow_host_namespaces: bool | None = None,
        allow_unconfined: bool | None = None,
        allow_shared: bool | None = None,
        compose: str | None = None,
        source: str | None = None,
        env: Mapping[str, str] | None = None,
        pull: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Deploy a Compose stack."""
        return await self._run(
            "stack_deploy",
            target,
            without_none(
                stack_name=stack_name,
                allow_privileged=allow_privileged,
                allow_host_network=allow_host_network,
                allow_devices=allow_devices,
                allow_capabilities=allow_capabilities,
                allow_host_mounts=allow_host_mounts,
                allow_engine_socket=allow_engine_socket,
                only_images=only_images,
                only_ports=only_ports,
                only_mounts=only_mounts,
                only_networks=only_networks,
                only_capabilities=only_capabilities,
                allow_host_namespaces=allow_host_namespaces,
                allow_unconfined=allow_unconfined,
                allow_shared=allow_shared,
                compose=compose,
                source=source,
                env=env,
                pull=pull,
                timeout=timeout,
            ),
            options,
        )

    async def update(  # long: the operation has as many parameters
        self,
        target: str,
        stack_name: str,
        *,
        allow_privileged: bool | None = None,
        allow_host_network: bool | None = None,
        allow_devices: bool | None = None,
        allow_capabilities: bool | None = None,
        allow_host_mounts: bool | None = None,
        allow_engine_socket: bool | None = None,
        only_images: Sequence[str] | None = None,
        only_ports: Sequence[str] | None = None,
        only_mounts: Sequence[str] | None = None,
        only_networks: Sequence[str] | None = None,
        only_capabilities: Sequence[str] | None = None,
        allow_host_namespaces: bool | None = None,
        allow_unconfined: bool | None = None,
        allow_shared: bool | None = None,
        compose: str | None = None,
        source: str | None = None,
        env: Mapping[str, str] | None = None,
        pull: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Update a running Compose stack to another Compose file or to newer images."""
        return await self._run(
            "stack_update",
            target,
            without_none(
                stack_name=stack_name,
                allow_privileged=allow_privileged,
                allow_host_network=allow_host_network,
                allow_devices=allow_devices,
                allow_capabilities=allow_capabilities,
                allow_host_mounts=allow_host_mounts,
                allow_engine_socket=allow_engine_socket,
                only_images=only_images,
                only_ports=only_ports,
                only_mounts=only_mounts,
                only_networks=only_networks,
                only_capabilities=only_capabilities,
                allow_host_namespaces=allow_host_namespaces,
                allow_unconfined=allow_unconfined,
                allow_shared=allow_shared,
                compose=compose,
                source=source,
                env=env,
                pull=pull,
                timeout=timeout,
            ),
            options,
        )

    async def remove(
        self,
        target: str,
        stack_name: str,
        *,
        volumes: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Remove a Compose stack."""
        return await self._run(
            "stack_remove", target, without_none(stack_name=stack_name, volumes=volumes, timeout=timeout), options
        )

    async def status(
        self, target: str, stack_name: str, *, timeout: int | None = None, **options: Unpack[RunOptions]
    ) -> OperationView:
        """Show the services of a Compose stack."""
        return await self._run("stack_status", target, without_none(stack_name=stack_name, timeout=timeout), options)
