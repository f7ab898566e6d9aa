"""Requesters by id or mail address. A name given in an argument authenticates nobody: only the connecting key does.

An address listed in `addresses` stands for the principal there, any other for the principal of its local part.
"""

from collections.abc import Mapping

from writ_contracts.errors import Denied


def principal_of(name: str, addresses: Mapping[str, str]) -> str:
    """Return the principal for a name or a mail address."""
    if "@" not in name:
        return name
    return addresses.get(name) or name.partition("@")[0]


def check_requester(name: str | None, principal: str, addresses: Mapping[str, str]) -> None:
    """Raises Denied (`key_mismatch`) where `name` stands for somebody else than the connected principal."""
    if name is None or principal_of(name, addresses) == principal:
        return
    raise Denied(
        f"requested_by {name[:80]!r} is not {principal!r}, whose key this client uses: it cannot request for others",
        code="key_mismatch",
    )
