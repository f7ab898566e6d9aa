"""Rights of the token: which privileges it lacks for which operation, and the command that grants them.

A token with privilege separation has the intersection of its user's rights and its own: granting only the token leaves
it without any (john-broadway/proximo#24).
"""

from collections.abc import Collection, Mapping
from typing import Any

from writ_agent_proxmox.actions import Actions
from writ_agent_proxmox.credentials import Token
from writ_agent_proxmox.settings import Connection

_AREAS = {"VM": ("/vms", "/pool"), "Datastore": ("/storage", "/pool"), "Sys": ("/nodes",), "SDN": ("/sdn",)}


def held(permissions: Mapping[str, Any], connection: Connection) -> frozenset[str]:
    """Return the privileges that `/access/permissions` shows somewhere within the target."""
    found: set[str] = set()
    for path, privileges in permissions.items():
        if isinstance(privileges, Mapping):
            found |= {
                str(name)
                for name, value in privileges.items()
                if value is not None and _counts(path, str(name), connection)
            }
    return frozenset(found)


def _counts(path: str, privilege: str, connection: Connection) -> bool:
    areas = _AREAS.get(privilege.partition(".")[0], ())
    if path.startswith("/pool/") and connection.pool is not None:
        return path == f"/pool/{connection.pool}"
    return path == "/" or path.startswith(areas)


def lacking(operations: Mapping[str, Actions], privileges: Collection[str]) -> dict[str, list[str]]:
    """Return the missing privileges by operation."""
    missing = {name: sorted(set(one.rights) - set(privileges)) for name, one in operations.items()}
    return {name: rights for name, rights in missing.items() if rights}


def granting(missing: Collection[str], token: Token, connection: Connection) -> str:
    """Return the commands that give the user and its token these privileges, to be run on a node as root."""
    role = "Writ-" + "-".join(sorted({name.split(".")[0] for name in missing}))
    path = f"/pool/{connection.pool}" if connection.pool else "/"
    return (
        f"pveum role add {role} --privs '{' '.join(sorted(missing))}'; "
        f"pveum acl modify {path} --users {token.user} --roles {role}; "
        f"pveum acl modify {path} --tokens '{token.id}' --roles {role}"
    )
