"""Adding a Proxmox target to `$WRIT_HOME`: its entry with the pinned certificate, and its API token."""

import re
from typing import Any

from msgspec import Struct

from writ_contracts.backends import PROXMOX
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_documents.atomic_files import write_atomically
from writ_installation.administration.targets import ask_agent, put_entry, refuse_known, served_within
from writ_installation.files.home import Home

PORT = 8006
_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9][A-Za-z0-9._-]{0,252}))(?::(?P<port>[1-9][0-9]{0,4}))?"
)


class ProxmoxTarget(Struct, frozen=True, kw_only=True):
    """The new target. `token`: one line, `user@realm!name=secret`."""

    name: str
    role: str
    host: str
    port: int
    fingerprint: str
    token: bytes
    pool: str | None = None
    tags: tuple[str, ...] = ()


class AddedProxmox(Struct, frozen=True, kw_only=True):
    """`served`: an agent here is ready for it; None where Writ is not up."""

    target: Target
    fingerprint: str
    token_id: str
    token_file: str
    served: bool | None


def api_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST[:PORT]`, an IPv6 address in brackets. Raises Invalid."""
    parts = _ADDRESS.fullmatch(text)
    port = int(parts["port"] or PORT) if parts else 0
    if parts is None or port > 65535:
        raise Invalid(f"{text[:200]!r} is not HOST[:PORT]")
    return parts["v6"] or parts["host"], port


def shown_fingerprint(host: str, port: int) -> str:
    """Return the SHA-256 of the server's certificate. Raises Unreachable."""
    return ask_agent(PROXMOX, ["certificate", host, str(port)])["fingerprint"]


def token_id(token: bytes) -> str:
    """Return the id of an API token. Raises Invalid."""
    return ask_agent(PROXMOX, ["read-token"], token)["id"]


async def add_proxmox_target(home: Home, new: ProxmoxTarget) -> AddedProxmox:
    """Return when a running Writ has an agent for it. Raises Conflict, Invalid."""
    refuse_known(home, new.name)
    if home.split:
        raise Invalid("services run as users of their own here: add the target by hand, as docs/proxmox.md shows")
    ident = token_id(new.token)
    path = home.credentials(PROXMOX) / new.name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, new.token.strip() + b"\n")
    target = put_entry(home, _entry(new))
    served = await served_within(home, target)
    return AddedProxmox(target=target, fingerprint=new.fingerprint, token_id=ident, token_file=str(path), served=served)


def _entry(new: ProxmoxTarget) -> dict[str, Any]:
    connection: dict[str, Any] = {"host": new.host, "fingerprint": new.fingerprint}
    if new.port != PORT:
        connection["port"] = new.port
    entry: dict[str, Any] = {"id": new.name, "role": new.role, "backend": PROXMOX}
    if new.pool is not None:
        entry["agent"] = new.pool
    if new.tags:
        entry["tags"] = list(new.tags)
    return {**entry, "connection": connection}
