"""Leaf nodes for sites with outgoing connections only. A leaf node links a pool's account to this server, and the
pool's agents connect to it.

A link is a user of the pool's account with only the rights of the pool's agents, and is accepted only as a leaf node.
It does not pass on the JetStream API, since a leaf node may have a JetStream of its own: a pull therefore has another
name on a link.
"""

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct

from writ_nats_server.cluster import TlsFiles, tls_block

LEAF_PORT = 7422
CLIENTS = ("STANDARD", "WEBSOCKET")
LINKS = ("LEAFNODE",)


class LeafListener(Struct, frozen=True, kw_only=True):
    """The address for leaf nodes."""

    host: str
    port: int = LEAF_PORT
    tls: TlsFiles | None = None


def next_of(pool: str) -> str:
    """Return the name of a pull of the pool's consumer on a link."""
    return f"writ.api.next.{pool}"


def listener_block(listener: LeafListener) -> dict[str, Any]:
    """Return the block of the configuration. Leaf nodes know the address already, and are not sent unreachable ones."""
    block: dict[str, Any] = {"host": listener.host, "port": listener.port, "no_advertise": True}
    return {**block, "tls": tls_block(listener.tls)} if listener.tls else block


def keep_apart(accounts: Mapping[str, Mapping[str, Any]], links: Collection[str]) -> None:
    """Separate links and clients by connection type: a message over a link may name any sender."""
    for account in accounts.values():
        for user in account["users"]:
            user["allowed_connection_types"] = list(LINKS if user["nkey"] in links else CLIENTS)
