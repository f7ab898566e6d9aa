"""Rights of the token: which privileges it lacks for which operation, and the command that grants them.

A token with privilege separation has the intersection of its user's rights and its own: granting only the token leaves
it without any (john-broadway/proximo#24).
"""

from collections.abc import Collection, Mapping
from typing import Any

from writ_agent_proxmox.connection.credentials import ApiToken
from writ_agent_proxmox.operations.actions import Actions
from writ_agent_proxmox.settings import ProxmoxConnection

_AREAS = {"VM": ("/vms", "/pool"), "Datastore": ("/storage", "/pool"), "Sys": ("/nodes",), "SDN": ("/sdn",)}
_FOLDERS = {"/", "/vms", "/storage", "/nodes", "/sdn", "/pool"}
"""Paths of no object of their own."""
_OUTSIDE_POOLS = {"Sys": "/nodes", "SDN": "/sdn"}


def held(permissions: Mapping[str, Any], connection: ProxmoxConnection) -> frozenset[str]:
    """Return the privileges shown by `/access/permissions` somewhere within the target."""
    found: set[str] = set()
    for path, privileges in permissions.items():
        if isinstance(privileges, Mapping):
            found |= {
                str(name)
                for name, value in privileges.items()
                if value is not None and _counts(path, str(name), bool(value), connection)
            }
    return frozenset(found)


def _counts(path: str, privilege: str, propagates: bool, connection: ProxmoxConnection) -> bool:
    """Return whether a privilege on a path holds for an object of the target. A privilege without propagation (0) holds
    for its own path alone: on `/` or `/vms` it has no effect for a guest.
    """
    if not propagates and path in _FOLDERS:
        return False
    areas = _AREAS.get(privilege.partition(".")[0], ())
    if path.startswith("/pool/") and connection.pool is not None:
        return path == f"/pool/{connection.pool}"
    return path == "/" or path.startswith(areas)


def lacking(operations: Mapping[str, Actions], privileges: Collection[str]) -> dict[str, list[str]]:
    """Return the missing privileges by operation."""
    missing = {name: sorted(set(one.rights) - set(privileges)) for name, one in operations.items()}
    return {name: rights for name, rights in missing.items() if rights}


def granting(operation: str, missing: Collection[str], token: ApiToken, connection: ProxmoxConnection) -> str:
    """Return the commands which give the user and its token these privileges, to be run on a node as root.

    Each operation has roles of its own, since `pveum role add` refuses an existing name.
    """
    places: dict[str, list[str]] = {}
    for name in sorted(missing):
        places.setdefault(_place_of(name, connection), []).append(name)
    return "; ".join(_granting(operation, path, privileges, token) for path, privileges in sorted(places.items()))


def _place_of(privilege: str, connection: ProxmoxConnection) -> str:
    """Return the path to grant at: a pool's holds for its guests and storages alone."""
    if connection.pool is None:
        return "/"
    return _OUTSIDE_POOLS.get(privilege.partition(".")[0], f"/pool/{connection.pool}")


def _granting(operation: str, path: str, privileges: Collection[str], token: ApiToken) -> str:
    role = f"Writ-{operation}" + (path.replace("/", "-") if path in _OUTSIDE_POOLS.values() else "")
    return (
        f"pveum role add {role} --privs '{' '.join(privileges)}'; "
        f"pveum acl modify {path} --users '{token.user}' --roles {role}; "
        f"pveum acl modify {path} --tokens '{token.id}' --roles {role}"
    )
