"""Processes started by others, the system or containers, and their health addresses."""

import asyncio
import socket
from collections.abc import Mapping

from msgspec import Struct

from writ_contracts.errors import ConfigError
from writ_installation.files.home import Home
from writ_installation.processes.readiness import Readiness, fetch_readiness

SERVICES = "WRIT_SERVICES"
LOOPBACK = "127.0.0.1"
UNITS = {"policy": 9470, "executor": 9480, "audit": 9490}
"""First health ports of `deploy/systemd`, which adds the number of a replica."""
PROVISIONER_PORT, GATEWAY_PORT = 9460, 9461
REPLICAS = 9


class HealthAddress(Struct, frozen=True):
    """The health address of a process. One that is not `expected` may be absent."""

    name: str
    host: str
    port: int
    expected: bool = True


async def health_addresses(home: Home, environ: Mapping[str, str]) -> list[HealthAddress]:
    """Return all addresses from `WRIT_SERVICES` (NAME:PORT …; each address of a name is a replica) or the units of
    `deploy/systemd`; none where `writ up` starts them. Raises ConfigError.
    """
    if services := environ.get(SERVICES):
        found = await asyncio.gather(*(_named(word) for word in services.split()))
        return [endpoint for each in found for endpoint in each]
    if not home.split:
        return []
    units = [
        HealthAddress(f"{name}@{number}", LOOPBACK, first + number, expected=number == 1)
        for name, first in UNITS.items()
        for number in range(1, REPLICAS + 1)
    ]
    gateway = HealthAddress("gateway", LOOPBACK, GATEWAY_PORT, expected=False)
    return [HealthAddress("keeper", LOOPBACK, PROVISIONER_PORT), gateway, *units]


async def probe_readiness(endpoint: HealthAddress, within: float) -> Readiness | None:
    """Return its readiness, replied within so many seconds; None where it is absent and may be."""
    reply = await fetch_readiness(endpoint.host, endpoint.port, within)
    return reply if reply.answered or endpoint.expected else None


async def _named(word: str) -> list[HealthAddress]:
    name, _, port = word.rpartition(":")
    if not name or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{SERVICES}: {word!r} is not NAME:PORT")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, int(port), type=socket.SOCK_STREAM)
    except OSError:  # an unknown name: no process is there
        return [HealthAddress(name, name, int(port))]
    hosts = sorted({str(address[0]) for *_, address in found})
    return [HealthAddress(name if len(hosts) == 1 else f"{name} {host}", host, int(port)) for host in hosts]
