"""Sites that only dial out: a leaf node there links the account of a pool to this server, and its agents connect to it.

A link is a user of the pool's account, with the rights of the pool's agents and no others, and is let in as a leaf node
only. It passes on no JetStream API, since a leaf node may have a JetStream of its own: a pull has another name on it.
"""

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct

from writ_nats_server.cluster import TlsFiles, tls_block

LEAF_PORT = 7422
CLIENTS = ("STANDARD", "WEBSOCKET")
LINKS = ("LEAFNODE",)


class Listener(Struct, frozen=True, kw_only=True):
    """Where leaf nodes connect to."""

    host: str
    port: int = LEAF_PORT
    tls: TlsFiles | None = None


def next_of(pool: str) -> str:
    """What a pull of the pool's consumer is called on a link."""
    return f"writ.api.next.{pool}"


def listener_block(listener: Listener) -> dict[str, Any]:
    """As the configuration has it. Leaf nodes know how they reach us, and aren't told addresses that they do not."""
    block: dict[str, Any] = {"host": listener.host, "port": listener.port, "no_advertise": True}
    return {**block, "tls": tls_block(listener.tls)} if listener.tls else block


def keep_apart(accounts: Mapping[str, Mapping[str, Any]], links: Collection[str]) -> None:
    """Links are no clients, and clients no links: what comes over a link may name its sender itself."""
    for account in accounts.values():
        for user in account["users"]:
            user["allowed_connection_types"] = list(LINKS if user["nkey"] in links else CLIENTS)
