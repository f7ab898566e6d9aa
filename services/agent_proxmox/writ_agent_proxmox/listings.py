"""Listings for the allowlists of a policy: all names, as requests spell them."""

from collections.abc import Awaitable, Callable, Mapping

from writ_agent_proxmox.api import Api
from writ_agent_proxmox.guests import all_guests

Listing = Callable[[Api], Awaitable[list[str]]]


async def list_guests(api: Api) -> list[str]:
    """Return the names of the target's guests."""
    return [guest.name for guest in await all_guests(api)]


LISTINGS: Mapping[str, Listing] = {"list_containers": list_guests, "list_guests": list_guests}
