"""`writ.network`: operations on the network, as a target sees it. Made from the catalogue by `make docs`."""

from collections.abc import Sequence
from typing import Literal, Unpack

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class Network(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def status(self, target: str, *, timeout: int | None = None, **options: Unpack[RunOptions]) -> OperationView:
        """Show interfaces, addresses, routes and listening sockets."""
        return await self._run("network_status", target, without_none(timeout=timeout), options)

    async def test(
        self,
        target: str,
        host: str,
        *,
        port: int | None = None,
        protocol: Literal["dns", "http", "icmp", "tcp"] | None = None,
        count: int | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Test whether a host is reachable from the target."""
        return await self._run(
            "network_test",
            target,
            without_none(host=host, port=port, protocol=protocol, count=count, timeout=timeout),
            options,
        )

    async def scan(
        self,
        target: str,
        cidr: str,
        *,
        ports: Sequence[int] | None = None,
        rate: int | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Scan one of the target's declared networks for open ports."""
        return await self._run(
            "network_scan", target, without_none(cidr=cidr, ports=ports, rate=rate, timeout=timeout), options
        )
