"""Local administration by the owner of `$WRIT_HOME`: no request, no decision. Write access to the folder is the
permission.

The key pair is made here; only its public half goes into principals.yaml. A running `writ up` applies it by itself.
"""

import asyncio
import os
import time
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from writ_client.context import Context, open_bus, tls_of
from writ_contracts.errors import Conflict, Denied, Invalid, TimedOut, Unreachable
from writ_contracts.inventory import Principal
from writ_documents.readers import read_principals
from writ_installation.files import list_edits
from writ_installation.files.create import create_installation, make_gateway
from writ_installation.files.home import Home
from writ_installation.status.server_url import running_url

ADMITTED_WITHIN = 30.0
PAUSE = 0.1


class Added(Struct, frozen=True, kw_only=True):
    """`admitted`: the running server accepts the key; None where none is running."""

    principal: Principal
    key_file: str
    admitted: bool | None


async def add_principal(
    home: Home, name: str, kind: str, roles: list[str], acts_for: str | None, via: str | None = None
) -> Added:
    """Add a principal with a new key, and the gateway `via` if it is missing. Raises Conflict if there is one, Invalid
    for an unknown human or for a human who is to come through a gateway.
    """
    create_installation(home)
    if via is not None and kind == "human":
        raise Invalid(f"{name} is a human: give the agent a principal of its own (--kind agent --acts-for {name})")
    if via is not None:
        make_gateway(home, via)
    known = {one.id: one for one in read_principals(home.principals).principals}
    if name in known:
        raise Conflict(f"there is a principal {name} already")
    if acts_for is not None and (kind == "human" or acts_for not in known or known[acts_for].kind != "human"):
        raise Invalid(f"{name} cannot act for {acts_for}: agents and services act for a human of {home.principals}")
    key = home.make_key(f"principal-{name}")
    entry: dict[str, Any] = {"id": name, "kind": kind, "roles": roles, "key": key.public}
    if acts_for is not None:
        entry["acts_for"] = acts_for
    if via is not None:
        entry["via"] = via
    list_edits.append(home.principals, "principals", entry, unique="id")
    principal = next(one for one in read_principals(home.principals).principals if one.id == name)
    key_file = str(home.seed_file(f"principal-{name}"))
    return Added(principal=principal, key_file=key_file, admitted=await admitted(home, name, key.seed))


def _url(home: Home) -> str | None:
    """Return the URL of a NATS server that follows this folder's files."""
    return running_url(home) or os.environ.get("NATS_URL") or None


async def admitted(home: Home, name: str, seed: bytes) -> bool | None:
    """Return whether the running server accepts the key within a while; None where none is running."""
    url = _url(home)
    if url is None:
        return None
    tls = tls_of(os.environ)
    context = Context(principal=name, url=url)
    if tls is not None:
        context = replace(context, tls_ca=tls.ca, tls_cert=tls.certificate, tls_key=tls.key)
    deadline = time.monotonic() + ADMITTED_WITHIN
    while time.monotonic() < deadline:
        try:
            bus = await open_bus(context, seed, wait=2.0)
        except (Denied, Unreachable, TimedOut):
            await asyncio.sleep(PAUSE)
        else:
            await bus.drain(1.0)
            return True
    return False
