"""Local administration by the owner of `$WRIT_HOME`: no request, no decision. Write access to the folder is the
permission.

The key pair is made here; only its public half goes into principals.yaml. A running `writ up` applies it by itself.
"""

import asyncio
import os
import time
from typing import Any

import msgspec
from msgspec import Struct, structs
from msgspec.structs import replace

from writ_bus.private_files import read_private
from writ_client.context import Context, open_bus
from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.errors import ConfigError, Conflict, Denied, Invalid, TimedOut, Unreachable
from writ_contracts.inventory import Principal
from writ_contracts.nearest_name import near
from writ_contracts.people.principal_changes import changed, is_active
from writ_documents import readers
from writ_documents.atomic_files import sync_folder, write_atomically
from writ_documents.readers import read_principals
from writ_installation.files import list_edits
from writ_installation.files.create import create_installation, make_gateway
from writ_installation.files.gateway_tokens import bind_tokens
from writ_installation.files.home import Home
from writ_installation.files.principal_changes import known_changes, principals_of
from writ_installation.nats.external_server import LOAD_AGAIN, is_external
from writ_installation.server_access.server_tls import client_tls
from writ_installation.status.server_url import running_url
from writ_runtime.faults import fault
from writ_trust.keys import Key, generate_seed

ADMITTED_WITHIN = 30.0
"""Seconds; a NATS server of somebody else's is tried once, since its operator has to act first."""
PAUSE = 0.1


class AddedPrincipal(Struct, frozen=True, kw_only=True):
    """`admitted`: the running server accepts the key; None where none is running."""

    principal: Principal
    key_file: str
    admitted: bool | None


async def add_principal(
    home: Home, name: str, kind: str, roles: list[str], acts_for: str | None, via: str | None = None
) -> AddedPrincipal:
    """Add a principal with a new key, and the gateway `via` if it is missing. Raises Conflict if there is one, Invalid
    for an unknown human or for a human who is to come through a gateway.
    """
    create_installation(home)
    if via is not None and kind == "human":
        raise Invalid(f"{name} is a human: give the agent a principal of its own (--kind agent --acts-for {name})")
    if via is not None:
        make_gateway(home, via)
    known = principals_of(home)
    bind_tokens(home.gateway_tokens, known)
    if name in known:
        raise Conflict(
            f"there is a principal {name} already; `writ principal roles {name} ROLE…` sets all of its roles"
        )
    if acts_for is not None and (kind == "human" or acts_for not in known or known[acts_for].kind != "human"):
        hint = near(acts_for, (one.id for one in known.values() if one.kind == "human" and one.id != acts_for))
        text = f"{name} cannot act for {acts_for}: agents and services act for a human of {home.principals}"
        raise Invalid(f"{text}{hint}")
    earlier = next((one for one in read_principals(home.principals).principals if one.id == name), None)
    if earlier is not None:  # an operation removed it: its key is worth nothing any more
        home.seed_file(f"principal-{name}").unlink(missing_ok=True)
    key = home.make_key(f"principal-{name}")
    entry: dict[str, Any] = {"id": name, "kind": kind, "roles": roles, "key": key.public}
    if acts_for is not None:
        entry["acts_for"] = acts_for
    if via is not None:
        entry["via"] = via
    if earlier is None:
        list_edits.append(home.principals, "principals", entry, unique="id")
    else:
        _replace(home, name, entry)
    principal = next(one for one in read_principals(home.principals).principals if one.id == name)
    key_file = str(home.seed_file(f"principal-{name}"))
    return AddedPrincipal(principal=principal, key_file=key_file, admitted=await admitted(home, name, key.seed))


def change_principal(home: Home, change: PrincipalManage) -> Principal | None:
    """Change the principal in the files; return it, None once removed. Raises Invalid, ConfigError.

    The file's entry then counts again, with what operations changed before: it gets a higher revision.
    """
    before, name = principals_of(home), change.principal_id
    bind_tokens(home.gateway_tokens, before)
    added_by_operation = (one.change for one in known_changes(home).changes if one.change.replaces == "")
    if change.action == "remove" and any(one.principal_id == name for one in added_by_operation):
        raise Invalid(f"an operation added {name}, so the files cannot remove it: add --request, or disable it here")
    after = changed(before, change).get(name)
    listed = {one.id: one for one in read_principals(home.principals).principals}
    if name not in listed:  # an operation added it
        listed[name] = structs.replace(before[name], revision=0)
        list_edits.append(home.principals, "principals", _entry(listed[name]), unique="id")
    if before[name] != listed[name] and after is not None:
        after = structs.replace(after, revision=listed[name].revision + 1)
    _replace(home, name, None if after is None else _entry(after))
    if after is None:
        home.seed_file(f"principal-{name}").unlink(missing_ok=True)
    return after


def rotate_principal(home: Home, name: str) -> Principal | None:
    """Give the principal a new key, in its file. Raises as `change_principal`.

    The private half is on disk before the public one counts: a crash in between would otherwise shut the principal out
    by a key that nobody has. An interrupted rotation is completed.
    """
    file = home.seed_file(f"principal-{name}")
    new, known = file.with_suffix(".next.seed"), principals_of(home).get(name)
    if known is None or not new.exists() or Key(read_private(new)).public != known.key:
        key = Key(generate_seed())
        write_atomically(new, key.seed + b"\n")
        fault("principal.key_kept")
        try:
            known = change_principal(home, PrincipalManage(action="rotate", principal_id=name, key=key.public))
        except (Invalid, ConfigError):  # refused; after any other error the key may be listed already
            new.unlink()
            raise
    fault("principal.key_listed")
    new.replace(file)
    sync_folder(file.parent)
    return known


async def key_admitted(home: Home, name: str) -> bool | None:
    """Return whether the running server accepts the principal's key of the folder within a while; None where none is
    running, or where the principal is disabled.
    """
    known = principals_of(home)
    if not is_active(known[name], known):
        return None
    return await admitted(home, name, home.key(f"principal-{name}").seed)


def not_admitted(home: Home, what: str) -> TimedOut:
    """Return the error for a new key that the running server does not accept."""
    if is_external(home):
        return TimedOut(f"{what}, but NATS does not accept it yet: {LOAD_AGAIN}")
    return TimedOut(f"{what}, but NATS did not accept it within {ADMITTED_WITHIN:g} s")


def new_key(name: str) -> str:
    """Return the words for the new key of this principal."""
    return f"the new key of {name} is in principals.yaml"


def _replace(home: Home, name: str, entry: dict[str, Any] | None) -> None:
    check = readers.principals_of
    list_edits.replace(home.principals, "principals", entry, unique="id", value=name, check=check)


def _entry(principal: Principal) -> dict[str, Any]:
    """Return the entry for the file, without values that are the default."""
    built: dict[str, Any] = msgspec.to_builtins(principal)
    kept = ("id", "kind", "key")
    defaults = msgspec.to_builtins(Principal(id=principal.id, kind=principal.kind, key=principal.key))
    return {name: value for name, value in built.items() if name in kept or value != defaults[name]}


def _url(home: Home) -> str | None:
    """Return the URL of a NATS server that follows this folder's files."""
    return running_url(home) or os.environ.get("NATS_URL") or None


async def admitted(home: Home, name: str, seed: bytes) -> bool | None:
    """Return whether the running server accepts the key within a while; None where none is running."""
    url = _url(home)
    if url is None:
        return None
    tls = client_tls(home, os.environ)
    context = Context(principal=name, url=url)
    if tls is not None:
        context = replace(context, tls_ca=tls.ca, tls_cert=tls.certificate, tls_key=tls.key)
    deadline = time.monotonic() + (0.0 if is_external(home) else ADMITTED_WITHIN)
    while True:
        try:
            bus = await open_bus(context, seed, wait=2.0)
        except (Denied, Unreachable, TimedOut):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(PAUSE)
        else:
            await bus.drain(1.0)
            return True
