"""Addition of a host with an agent of its own to `$WRIT_HOME`: its entry alone, since the agent's key is made there."""

from typing import Any

import msgspec
from msgspec import Struct

from writ_contracts.backends import LOCAL, default_pool
from writ_contracts.errors import Invalid
from writ_contracts.ids import PoolId
from writ_contracts.inventory import Target
from writ_installation.administration.targets import put_entry, refuse_known
from writ_installation.files.home import Home, is_here


class NewLocalTarget(Struct, frozen=True, kw_only=True):
    """The target to add. `host`: the name of its host, by which its pool is `local-HOST` if none is given."""

    name: str
    role: str
    host: str
    pool: str | None = None
    file_roots: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class AddedLocalTarget(Struct, frozen=True, kw_only=True):
    """`here`: the agent of this machine serves it."""

    target: Target
    pool: str
    here: bool


def add_local_target(home: Home, new: NewLocalTarget) -> AddedLocalTarget:
    """Add the target. Raises Conflict, Invalid."""
    refuse_known(home, new.name)
    try:
        msgspec.convert(new.pool or default_pool(LOCAL, new.host), PoolId)
    except msgspec.ValidationError:
        message = "gives no name of a pool: letters, digits, - and _, at most 58; or name one by --pool"
        raise Invalid(f"{new.pool or new.host!r} {message}") from None
    entry: dict[str, Any] = {"id": new.name, "role": new.role, "backend": LOCAL}
    entry |= {"agent": new.pool} if new.pool else {}
    entry |= {"connection": {"host": new.host}}
    entry |= {"file_roots": [*new.file_roots]} if new.file_roots else {}
    entry |= {"tags": [*new.tags]} if new.tags else {}
    target = put_entry(home, entry)
    return AddedLocalTarget(target=target, pool=target.pool, here=is_here(new.host) and not home.split)
