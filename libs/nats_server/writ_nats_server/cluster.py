"""The certificate and cluster parts of a server's configuration."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

ROUTE_PORT = 6222
TLS_VERSION = "1.3"


class TlsFiles(Struct, frozen=True, kw_only=True):
    """Paths of the server's own files.

    With `ca`, clients must present a certificate that it signed. Without `required`, clients without TLS are served
    too.
    """

    certificate: str
    key: str
    ca: str | None = None
    required: bool = True


class Routes(Struct, frozen=True, kw_only=True):
    """The servers of a cluster by their host names, including this one. A server without their certificate
    cannot join.
    """

    peers: Sequence[str]
    tls: TlsFiles
    cluster: str = "writ"
    port: int = ROUTE_PORT


def tls_block(files: TlsFiles) -> dict[str, Any]:
    block = {"cert_file": files.certificate, "key_file": files.key, "min_version": TLS_VERSION}
    return {**block, "ca_file": files.ca, "verify": True} if files.ca else block


def cluster_block(routes: Routes) -> dict[str, Any]:
    """Return the block of the configuration. Clients know all servers already, and are not sent addresses that only
    servers can reach.
    """
    return {
        "name": routes.cluster,
        "host": "0.0.0.0",  # noqa: S104 - the other servers connect to it, with the certificate
        "port": routes.port,
        "no_advertise": True,
        "tls": tls_block(routes.tls),
        "routes": [f"nats://{peer}:{routes.port}" for peer in routes.peers],
    }
