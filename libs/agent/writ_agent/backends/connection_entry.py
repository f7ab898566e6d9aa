"""The `connection` of a target's entry, in the type that its backend gives it."""

from typing import TypeVar

import msgspec
from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target

Connection = TypeVar("Connection", bound=Struct)


def typed_connection(target: Target, kind: type[Connection]) -> Connection:
    """Return the connection of a target. Raises Invalid (`invalid_connection`)."""
    try:
        return msgspec.convert(target.connection, kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"target {target.id}: connection: {error}", code="invalid_connection") from error
