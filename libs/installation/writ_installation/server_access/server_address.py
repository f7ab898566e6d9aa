"""The address of the bundled NATS server."""

from msgspec import Struct

from writ_installation.files.site import Site

LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


class ServerAddress(Struct, frozen=True, kw_only=True):
    """The bundled server's address; the monitor (health, reloads) is always on loopback."""

    host: str
    port: int
    monitor_port: int

    @property
    def url(self) -> str:
        """The URL for clients on this machine."""
        host = LOOPBACK if self.host in EVERYWHERE else self.host
        return f"nats://{f'[{host}]' if ':' in host else host}:{self.port}"


def address_of(site: Site) -> ServerAddress:
    return ServerAddress(host=site.listen, port=site.port, monitor_port=site.monitor_port)
