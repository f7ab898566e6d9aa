"""`connection` of a Docker target in the inventory: where its engine listens, typed; an unknown field is refused."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target

SOCKET = "/var/run/docker.sock"
SocketPath = Annotated[str, Meta(pattern=r"^(?:/(?!\.{1,2}(?:/|\n?$))[A-Za-z0-9._+@-]+)+(?!\n)$", max_length=100)]


class Connection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`socket`: the Unix socket of the engine. `connect_timeout` and `reply_timeout`: seconds to connect, and to answer
    a request that only reads. A longer path does not fit in a socket address (unix(7): 108 bytes).
    """

    socket: SocketPath = SOCKET
    connect_timeout: Annotated[float, Meta(gt=0, le=120)] = 5.0
    reply_timeout: Annotated[float, Meta(gt=0, le=120)] = 15.0


def connection_of(target: Target) -> Connection:
    """Return the typed connection. Raises Invalid (`invalid_connection`)."""
    try:
        return msgspec.convert(target.connection, Connection)
    except msgspec.ValidationError as error:
        raise Invalid(f"target {target.id}: connection: {error}", code="invalid_connection") from error
