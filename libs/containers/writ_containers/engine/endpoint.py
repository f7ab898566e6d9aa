"""Endpoints of engines: a Unix socket of this machine, or TLS with a pinned authority; for HTTP and for `docker`."""

import ssl
from pathlib import Path
from typing import assert_never

from msgspec import Struct

from writ_bus.private_files import read_private
from writ_containers.engine.connection import EngineConnection
from writ_containers.engine.http_client import aiohttp
from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.host_addresses import host_and_port

LARGEST_IDENTITY = 65536


class SocketEndpoint(Struct, frozen=True):
    """A Unix socket on this host."""

    path: str


class TlsEndpoint(Struct, frozen=True):
    """An engine over TLS. `ca`: PEM of the trusted certificates. `identity`: PEM of our certificate and its key."""

    host: str
    port: int
    ca: str
    identity: str


Endpoint = SocketEndpoint | TlsEndpoint


def endpoint_of(connection: EngineConnection, identity: Path) -> Endpoint:
    """Return the endpoint of a Docker target. Raises Invalid (`no_credentials`) for an unreadable identity."""
    if connection.host is None or connection.ca is None:
        return SocketEndpoint(connection.socket)
    try:
        text = read_private(identity).decode()
    except (ConfigError, UnicodeDecodeError) as error:
        raise Invalid(f"our certificate for the engine: {error}", code="no_credentials") from error
    if len(text) > LARGEST_IDENTITY or "-----BEGIN CERTIFICATE-----" not in text or "PRIVATE KEY-----" not in text:
        raise Invalid(f"{identity} must hold our certificate for the engine and its key, as PEM", code="no_credentials")
    return TlsEndpoint(connection.host, connection.port, connection.ca, text)


def url(endpoint: Endpoint) -> str:
    """Return the base URL. For a socket it is only a name: the connector has the path."""
    match endpoint:
        case SocketEndpoint():
            return "unix://localhost"
        case TlsEndpoint():
            return f"https://{host_and_port(endpoint.host, endpoint.port)}"
        case _:
            assert_never(endpoint)


def shown(endpoint: Endpoint) -> str:
    """Return the endpoint for people."""
    return endpoint.path if isinstance(endpoint, SocketEndpoint) else host_and_port(endpoint.host, endpoint.port)


def connector(endpoint: Endpoint, folder: Path) -> "aiohttp.BaseConnector":
    """Return a connector without a limit: with one, reads wait behind open streams. Raises Invalid
    (`invalid_connection`, `no_credentials`). `folder`: private, for the moment in which ssl reads our key.
    """
    match endpoint:
        case SocketEndpoint():
            return aiohttp.UnixConnector(path=endpoint.path, limit=0)
        case TlsEndpoint():
            return aiohttp.TCPConnector(ssl=_context(endpoint, folder), limit=0)
        case _:
            assert_never(endpoint)


def docker_environment(endpoint: Endpoint, folder: Path) -> dict[str, str]:
    """Return the variables by which `docker` finds the engine; its certificates go into the private `folder`."""
    if isinstance(endpoint, SocketEndpoint):
        return {"DOCKER_HOST": f"unix://{endpoint.path}"}
    for name, text in (("ca.pem", endpoint.ca), ("cert.pem", endpoint.identity), ("key.pem", endpoint.identity)):
        (folder / name).write_text(text)
    host = f"tcp://{host_and_port(endpoint.host, endpoint.port)}"
    return {"DOCKER_HOST": host, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(folder)}


def _context(endpoint: TlsEndpoint, folder: Path) -> ssl.SSLContext:
    """One context for every Python: PARTIAL_CHAIN (default since 3.13) lets a pinned certificate be no root, and STRICT
    (default since 3.13) refuses an authority without keyUsage.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=endpoint.ca)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid(f"connection.ca holds no certificate: {error}", code="invalid_connection") from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    identity = folder / "identity.pem"
    identity.touch(mode=0o600)
    identity.write_text(endpoint.identity)
    try:
        context.load_cert_chain(identity)
    except ssl.SSLError as error:
        raise Invalid(
            f"our certificate for {shown(endpoint)} and its key do not match", code="no_credentials"
        ) from error
    finally:
        identity.unlink()
    return context
