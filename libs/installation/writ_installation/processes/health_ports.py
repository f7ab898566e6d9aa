"""Fixed health ports of the processes of `writ up`: in their order from the first one, past those that are taken."""

import errno
import socket
from collections.abc import Callable, Mapping

from msgspec import structs

from writ_contracts.errors import ConfigError
from writ_installation.processes.services import ServiceProcess
from writ_installation.server_access.server_address import LOOPBACK

FIRST = 9400
LAST = 65535


class HealthPorts:
    """The ports from `first` on, each given once; with 0 each process takes a free one itself."""

    def __init__(self, first: int, environ: Mapping[str, str], show: Callable[[str], None]) -> None:
        self._next = first
        self._host = environ.get("WRIT_HEALTH_HOST") or LOOPBACK
        self._show = show

    def given_to(self, service: ServiceProcess) -> ServiceProcess:
        """Return the service with the next free port; show the ports before it that another process has."""
        if not self._next:
            return service
        port, taken = self._take()
        if taken:
            self._show(f"health port {', '.join(map(str, taken))} is taken: {service.name} has {port}")
        return structs.replace(service, env={**service.env, "WRIT_HEALTH_PORT": str(port)})

    def _take(self) -> tuple[int, list[int]]:
        """Return the next free port, and the taken ones before it. Raises ConfigError where no port is left."""
        taken = list[int]()
        while self._next <= LAST:
            port, self._next = self._next, self._next + 1
            if not _is_taken(self._host, port):
                return port, taken
            taken.append(port)
        raise ConfigError(f"no port is free for health and metrics up to {LAST}: start with a lower --health-port")


def _is_taken(host: str, port: int) -> bool:
    """Return whether another process listens there; for any other error the process itself says it."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return False
    except OSError as error:
        return error.errno == errno.EADDRINUSE
