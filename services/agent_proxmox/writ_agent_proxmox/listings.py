"""Listings for the allowlists of a policy: all names, as requests spell them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from writ_agent_proxmox.connection.api import Api
from writ_agent_proxmox.operations.backups import backups
from writ_agent_proxmox.tasks.guests import all_guests
from writ_contracts.inventory import Target

Listing = Callable[[Api, Target], Awaitable[list[str]]]


async def list_guests(api: Api, target: Target) -> list[str]:
    """Return the names of the target's guests."""
    return [guest.name for guest in await all_guests(api)]


async def list_storages(api: Api, target: Target) -> list[str]:
    rows = await api.get("cluster", "resources", type="storage")
    return sorted({str(row["storage"]) for row in rows if api.connection.node in (None, row.get("node"))})


async def list_backups(api: Api, target: Target) -> list[str]:
    return [one.id for one in await backups(api, target)]


async def list_snapshots(api: Api, target: Target) -> list[str]:
    """Return the names of all guests' snapshots."""
    paths = [guest.path for guest in await all_guests(api) if not guest.template]
    found = await asyncio.gather(*(api.get(*path, "snapshot") for path in paths))
    return sorted({str(row["name"]) for rows in found for row in rows if row.get("name") != "current"})


LISTINGS: Mapping[str, Listing] = {
    "list_containers": list_guests,
    "list_guests": list_guests,
    "list_storages": list_storages,
    "list_backups": list_backups,
    "list_snapshots": list_snapshots,
}
