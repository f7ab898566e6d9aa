"""Guests of a cluster as `/cluster/resources` lists them, and their one spelling.

It is the name, or the vmid of a guest whose name is missing or not unique. A policy compares text: a second spelling
would evade the rules on the first.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count, islice
from typing import Any, Literal

from msgspec import Struct

from writ_agent_proxmox.connection.api import Api
from writ_agent_proxmox.settings import ProxmoxConnection, backup_storage_of
from writ_contracts.errors import Conflict, Denied, Invalid, Unreachable
from writ_contracts.inventory import Target

Kind = Literal["qemu", "lxc"]
MOST_TRIES = 100
"""Ids to try for a new guest."""


class Guest(Struct, frozen=True, kw_only=True):
    """One guest. `name` is its one spelling. Its status is not here: the list is up to 10 s old (pvestatd)."""

    vmid: int
    kind: Kind
    node: str
    name: str
    pool: str = ""
    tags: tuple[str, ...] = ()
    template: bool = False

    @property
    def path(self) -> tuple[object, ...]:
        return ("nodes", self.node, self.kind, self.vmid)

    @property
    def id(self) -> str:
        """The guest as Proxmox names it, such as `qemu/100`."""
        return f"{self.kind}/{self.vmid}"


async def all_guests(api: Api) -> list[Guest]:
    """Return the guests of a target. Raises WritError."""
    return guests_of(await api.get("cluster", "resources", type="vm"), api.connection)


def guests_of(rows: Iterable[Mapping[str, Any]], scope: ProxmoxConnection) -> list[Guest]:
    """Return the guests within a target, each by its one spelling in the whole cluster, in the order of their ids."""
    known = [row for row in rows if row.get("type") in ("qemu", "lxc") and isinstance(row.get("vmid"), int)]
    named = Counter(_name(row) for row in known)
    ids = {str(row["vmid"]) for row in known}
    guests = [_guest(row, named, ids) for row in known]
    return sorted((one for one in guests if _within(one, scope)), key=lambda one: one.vmid)


async def free_vmid(api: Api, target: Target) -> int:
    """Return a free id; two concurrent callers get the same one, and the second is refused. Raises Conflict.

    Proxmox gives the id of a deleted guest to the next one, and a backup belongs to the guest with its id. So an id
    with backups in the target's storage is not given again: they may be those of another target's guest.
    """
    first, former = int(await api.get("cluster", "nextid")), await _backed_up(api, target)
    for vmid in islice((one for one in count(first) if one not in former), MOST_TRIES):
        try:
            return int(await api.get("cluster", "nextid", vmid=vmid))
        except Invalid as error:
            if error.code != "refused":  # not the refusal of an id in use
                raise
    raise Conflict(f"none of {MOST_TRIES} ids from {first} on is free, without backups of a former guest", code="busy")


async def _backed_up(api: Api, target: Target) -> set[int]:
    """Return the ids with backups in the target's storage, on any node where it is available. Without the right to list
    them there, this target restores none.
    """
    if not target.backup:
        return set()
    storage, found = backup_storage_of(target).storage, set[int]()
    every = await api.get("cluster", "resources", type="storage")
    rows = [row for row in every if (row.get("storage"), row.get("status")) == (storage, "available")]
    for row in rows[:1] if any(row.get("shared") for row in rows) else rows:
        try:
            backups = await api.get("nodes", row["node"], "storage", storage, "content", content="backup")
        except Denied:
            continue
        found.update(one["vmid"] for one in backups if isinstance(one.get("vmid"), int))
    return found


async def some_node(api: Api) -> str:
    """Return an online node. Raises Unreachable (`node_offline`)."""
    for row in await api.get("nodes"):
        if row.get("status") == "online":
            return str(row["node"])
    raise Unreachable("no node of the cluster is online", code="node_offline")


def find_guest(guests: Iterable[Guest], name: str) -> Guest:
    """Return the guest with this name. Raises Invalid (`not_found`, `other_spelling`)."""
    others = list(guests)
    for one in others:
        if one.name == name:
            return one
    for one in others:
        if str(one.vmid) == name:
            raise Invalid(f"guest {name} has the name {one.name}: use that name", code="other_spelling")
    raise Invalid(f"no guest {name!r} on this target, or more than one: then give its vmid", code="not_found")


def _name(row: Mapping[str, Any]) -> str:
    return str(row.get("name") or "")


def _guest(row: Mapping[str, Any], named: Counter[str], ids: set[str]) -> Guest:
    name = _name(row)
    sole = bool(name) and named[name] == 1 and name not in ids
    tags = str(row.get("tags") or "").replace(",", ";").split(";")
    return Guest(
        vmid=row["vmid"],
        kind=row["type"],
        node=str(row.get("node") or ""),
        name=name if sole else str(row["vmid"]),
        pool=str(row.get("pool") or ""),
        tags=tuple(filter(None, (tag.strip() for tag in tags))),
        template=bool(row.get("template")),
    )


def _within(guest: Guest, scope: ProxmoxConnection) -> bool:
    return (
        scope.node in (None, guest.node)
        and scope.pool in (None, guest.pool)
        and (scope.tag is None or scope.tag in guest.tags)
    )
