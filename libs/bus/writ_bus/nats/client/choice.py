"""Choice of the client."""

from collections.abc import Callable
from typing import cast

from writ_bus.errors import BusRefused
from writ_bus.nats.client.direct import DirectClient
from writ_bus.nats.client.plain import PlainClient
from writ_bus.nats.client.port import Client

# nats-py names each option of connect, the port none.
CLIENTS: dict[str, Callable[[], Client]] = {
    "direct": lambda: cast("Client", DirectClient()),
    "plain": PlainClient,
}


def make_client(name: str) -> Client:
    """Return a client that is not connected yet. Raises BusRefused for an unknown name."""
    if name not in CLIENTS:
        raise BusRefused(f"WRIT_NATS_CLIENT is {name!r}; it can be {' or '.join(CLIENTS)}")
    return CLIENTS[name]()
