"""The engines of Docker targets: an agent goes only to those that the owner of its host has put down.

Any folder could hold a socket, so a target needs a file of its name in the folder of credentials. For an engine over
TLS the file holds our certificate and its key.
"""

from pathlib import Path

from writ_containers.connection import connection_of
from writ_containers.endpoint import endpoint_of
from writ_containers.kept_engines import KeptEngines, Where
from writ_containers.registries import Registries
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target


def engines_of(credentials: Path, registries: Registries) -> KeptEngines:
    """Return the engines of the targets that have a file in this folder."""

    def locate(target: Target) -> Where:
        identity = credentials / target.id
        if not identity.is_file():
            message = f"target {target.id} is not served by this agent: there is no file of that name in"
            raise Invalid(f"{message} {credentials}", code="no_credentials")
        connection = connection_of(target)
        return connection, endpoint_of(connection, identity)

    return KeptEngines(locate, registries)
