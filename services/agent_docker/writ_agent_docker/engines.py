"""The engines of Docker targets: an agent uses only those declared by the owner of its host.

An inventory entry could name any socket, so a target needs a file of its name in the folder of credentials. For an
engine over TLS the file has our certificate and its key.
"""

from collections.abc import Iterable
from pathlib import Path

from writ_containers.engine.connection import connection_of
from writ_containers.engine.endpoint import endpoint_of
from writ_containers.engine.engine_connections import EngineConnections, Where
from writ_containers.engine.registries import Registries
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target


def engines_of(credentials: Path, registries: Registries, own: Iterable[Path] = ()) -> EngineConnections:
    """Return the engines of the targets with a file in this folder. `own`: files of Writ on this machine."""

    def locate(target: Target) -> Where:
        identity = credentials / target.id
        if not identity.is_file():
            message = f"target {target.id} is not served by this agent: there is no file of that name in"
            raise Invalid(f"{message} {credentials}", code="no_credentials")
        connection = connection_of(target)
        return connection, endpoint_of(connection, identity)

    return EngineConnections(locate, registries, [credentials, *own])
