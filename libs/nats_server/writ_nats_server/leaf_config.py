"""The configuration of a leaf node at a site with outgoing connections only: agents connect to it, and it connects to
the server of Writ.

It has no JetStream and stores nothing: agents pull from the server, and their own messages wait in their spools.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from writ_contracts.installation.account_names import pool_account
from writ_contracts.registry import Role
from writ_nats_server.cluster import TLS_VERSION
from writ_nats_server.config import AccountUsers, link_rights, renamed, user
from writ_nats_server.config_file import AnyServer, server_file

ENCRYPTED = ("tls://", "wss://")


class LeafLink(Struct, frozen=True, kw_only=True):
    """A link to the account of one pool. `seed` is the link's private key, `agents` are the public ones of the pool."""

    pool: str
    seed: str
    agents: Sequence[str]


class LeafPlan(AnyServer, frozen=True, kw_only=True):
    """The plan of one leaf node; `hub` is the address of Writ's servers for it, `hub_ca` their CA.

    With `hub_ca`, or a URL with tls or wss, it links over TLS or not at all; without `hub_ca` it uses its host's CAs.
    """

    hub: Sequence[str]
    links: Sequence[LeafLink]
    hub_ca: str | None = None


def render_leaf(plan: LeafPlan) -> str:
    """Return the configuration file, which contains private keys."""
    settings: dict[str, Any] = {
        "accounts": {pool_account(link.pool): _account(link) for link in plan.links},
        "leafnodes": {"reconnect": "1s", "remotes": [_remote(plan, link) for link in plan.links]},
    }
    return server_file(plan, settings)


def _account(link: LeafLink) -> dict[str, Any]:
    party = AccountUsers(
        role=Role.AGENT,
        account=pool_account(link.pool),
        name=f"agent-{link.pool}",
        keys=link.agents,
        tokens={"pool": link.pool},
    )
    return {"users": [user(key, link_rights(party)) for key in link.agents], "mappings": dict([renamed(party)])}


def _remote(plan: LeafPlan, link: LeafLink) -> dict[str, Any]:
    remote = {"urls": list(plan.hub), "account": pool_account(link.pool), "nkey": link.seed}
    if not plan.hub_ca and not any(url.startswith(ENCRYPTED) for url in plan.hub):
        return remote
    # Without this block nats-server 2.15 links in plain text if the other side requests it, whatever the URL says.
    ca = {"ca_file": plan.hub_ca} if plan.hub_ca else {}
    return {**remote, "tls": {**ca, "min_version": TLS_VERSION}}
