"""`writ.containers`: operations on containers, and guests of Proxmox. Made from the catalogue by `make docs`."""

from collections.abc import Mapping, Sequence
from typing import Literal, Unpack

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class Containers(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def create(  # long: the operation has as many parameters
        self,
        target: str,
        container_name: str,
        image: str,
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
        command: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        ports: Sequence[str] | None = None,
        mounts: Sequence[str] | None = None,
        network: str | None = None,
        restart_policy: Literal["always", "no", "on-failure", "unless-stopped"] | None = None,
        memory: int | None = None,
        cpus: float | None = None,
        user: str | None = None,
        read_only: bool | None = None,
        init: bool | None = None,
        cap_add: Sequence[str] | None = None,
        cap_drop: Sequence[str] | None = None,
        devices: Sequence[str] | None = None,
        privileged: bool | None = None,
        labels: Mapping[str, str] | None = None,
        health_command: Sequence[str] | None = None,
        health_interval: int | None = None,
        start: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Create a container from an image, and start it."""
        return await self._run(
            "container_create",
            target,
            without_none(
                container_name=container_name,
                image=image,
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
                command=command,
                env=env,
                ports=ports,
                mounts=mounts,
                network=network,
                restart_policy=restart_policy,
                memory=memory,
                cpus=cpus,
                user=user,
                read_only=read_only,
                init=init,
                cap_add=cap_add,
                cap_drop=cap_drop,
                devices=devices,
                privileged=privileged,
                labels=labels,
                health_command=health_command,
                health_interval=health_interval,
                start=start,
                timeout=timeout,
            ),
            options,
        )

    async def update(  # long: the operation has as many parameters
        self,
        target: str,
        container_name: str,
        image: str,
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
        pull: bool | None = None,
        recreate: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Recreate a container from another image. If the new one is not healthy, the former one is restored."""
        return await self._run(
            "container_update",
            target,
            without_none(
                container_name=container_name,
                image=image,
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
                pull=pull,
                recreate=recreate,
                timeout=timeout,
            ),
            options,
        )

    async def delete(
        self,
        target: str,
        container_name: str,
        *,
        force: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Remove a container."""
        return await self._run(
            "container_delete",
            target,
            without_none(container_name=container_name, force=force, timeout=timeout),
            options,
        )

    async def start(
        self, target: str, container_name: str, *, timeout: int | None = None, **options: Unpack[RunOptions]
    ) -> OperationView:
        """Start a container; nothing happens if it runs."""
        return await self._run(
            "container_start", target, without_none(container_name=container_name, timeout=timeout), options
        )

    async def stop(
        self, target: str, container_name: str, *, timeout: int | None = None, **options: Unpack[RunOptions]
    ) -> OperationView:
        """Stop a container; nothing happens if it does not run."""
        return await self._run(
            "container_stop", target, without_none(container_name=container_name, timeout=timeout), options
        )

    async def restart(
        self, target: str, container_name: str, *, timeout: int | None = None, **options: Unpack[RunOptions]
    ) -> OperationView:
        """Stop a container and start it again."""
        return await self._run(
            "container_restart", target, without_none(container_name=container_name, timeout=timeout), options
        )

    async def inspect(
        self, target: str, container_name: str, *, timeout: int | None = None, **options: Unpack[RunOptions]
    ) -> OperationView:
        """Show a container and its settings."""
        return await self._run(
            "container_inspect", target, without_none(container_name=container_name, timeout=timeout), options
        )

    async def list(
        self, target: str, *, running: bool | None = None, timeout: int | None = None, **options: Unpack[RunOptions]
    ) -> OperationView:
        """List the containers of an engine."""
        return await self._run("container_list", target, without_none(running=running, timeout=timeout), options)

    async def logs(
        self,
        target: str,
        container_name: str,
        *,
        lines: int | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Show the last lines of a container's log."""
        return await self._run(
            "container_logs", target, without_none(container_name=container_name, lines=lines, timeout=timeout), options
        )
