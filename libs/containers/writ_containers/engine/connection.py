"""An engine as the inventory declares it: `connection` of a Docker target, `docker` of a host; no unknown fields."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from writ_agent.backends.connection_entry import typed_connection
from writ_agent.backends.connection_retries import Retries
from writ_contracts.backends import DOCKER
from writ_contracts.errors import Invalid
from writ_contracts.host_addresses import Host, bare_host
from writ_contracts.inventory import BackupRepository, Target

SOCKET = "/var/run/docker.sock"
SocketPath = Annotated[str, Meta(pattern=r"^(?:/(?!\.{1,2}(?:/|\n?$))[A-Za-z0-9._+@-]+)+(?!\n)$", max_length=100)]
Seconds = Annotated[float, Meta(gt=0, le=120)]


class EngineAddress(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The address of an engine. `socket`: its Unix socket on the engine's host; a longer path does not fit into a
    socket address (unix(7): 108 bytes). `connect_timeout`, `reply_timeout`: seconds to connect, and to answer a read.
    `connect_retries`: further attempts at an engine out of reach, for reads.
    """

    socket: SocketPath = SOCKET
    connect_timeout: Seconds = 5.0
    connect_retries: Retries = 0
    reply_timeout: Seconds = 15.0


class HostEngine(EngineAddress, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An engine on a host. `backup`: the repository of its containers' data, which restic reaches from the agent."""

    backup: BackupRepository | None = None


class EngineConnection(EngineAddress, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`host`: the engine is reached over TLS, and `ca` (PEM) is the one authority, or the one certificate, trusted."""

    host: Host | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] = 2376
    ca: Annotated[str, Meta(max_length=65536)] | None = None

    def __post_init__(self) -> None:
        if self.host is not None:
            force_setattr(self, "host", bare_host(self.host))
        if (self.host is None) != (self.ca is None):
            raise ValueError("host and ca belong together: an engine over TLS is trusted by its certificate alone")


def connection_of(target: Target) -> EngineConnection:
    """Return the connection of a target of backend docker. Raises Invalid (`invalid_connection`)."""
    return typed_connection(target, EngineConnection)


def engine_address(target: Target) -> EngineAddress:
    """Return the engine's address on its host. Raises Invalid (`no_engine`, `invalid_connection`)."""
    return connection_of(target) if target.backend == DOCKER else host_engine(target)


def host_engine(target: Target) -> HostEngine:
    """Return `docker` of a host. Raises Invalid (`no_engine`, `invalid_connection`)."""
    if target.docker is None:
        message = f"target {target.id} declares no engine: give it `docker: {{}}` in inventory.yaml"
        raise Invalid(message, code="no_engine")
    try:
        return msgspec.convert(target.docker, HostEngine)
    except msgspec.ValidationError as error:
        raise Invalid(f"target {target.id}: docker: {error}", code="invalid_connection") from error
