"""`writ.services`: operations on system services. Made from the catalogue by `make docs`."""

from typing import Unpack

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class Services(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def status(
        self, target: str, service_name: str, *, timeout: int | None = None, **options: Unpack[RunOptions]
    ) -> OperationView:
        """Show the state of a service."""
        return await self._run(
            "service_status", target, without_none(service_name=service_name, timeout=timeout), options
        )

    async def start(
        self, target: str, service_name: str, *, timeout: int | None = None, **options: Unpack[RunOptions]
    ) -> OperationView:
        """Start a service; nothing happens if it runs."""
        return await self._run(
            "service_start", target, without_none(service_name=service_name, timeout=timeout), options
        )

    async def stop(
        self, target: str, service_name: str, *, timeout: int | None = None, **options: Unpack[RunOptions]
    ) -> OperationView:
        """Stop a service; nothing happens if it does not run."""
        return await self._run(
            "service_stop", target, without_none(service_name=service_name, timeout=timeout), options
        )

    async def restart(
        self, target: str, service_name: str, *, timeout: int | None = None, **options: Unpack[RunOptions]
    ) -> OperationView:
        """Stop a service and start it again."""
        return await self._run(
            "service_restart", target, without_none(service_name=service_name, timeout=timeout), options
        )
