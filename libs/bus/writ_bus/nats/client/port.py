"""Port to a client of the NATS protocol, as far as a connection needs it."""

from collections.abc import Callable
from ssl import SSLContext
from typing import Any, Protocol

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

DOWN = (nats.errors.Error, OSError, RuntimeError)
"""Exceptions of nats-py without a connection. uvloop raises RuntimeError for a closed socket: until nats-py notices the
loss it writes to it, in place of its flusher, which has ended by then.
"""

NatsMessage = Msg
OnMessage = Callable[[NatsMessage], None]


class Client(Protocol):
    """A client with a subscription per listener; it reconnects by itself."""

    @property
    def is_connected(self) -> bool:
        """Return whether messages can be sent now."""

    @property
    def max_payload(self) -> int:
        """Return the server's limit of a message, in bytes."""

    @property
    def clustered(self) -> bool:
        """Return whether the server may be one of several."""

    @property
    def server_id(self) -> str:
        """Return the id of the server of the present or last connection."""

    @property
    def waiting_bytes(self) -> int:
        """Return the number of bytes not taken by the socket yet, as far as it is known."""

    async def connect(self, **options: Any) -> None:
        """Connect, with nats-py's options."""

    def use_tls(self, context: SSLContext) -> None:
        """Use this context from the next connection on."""

    async def publish(self, subject: str, payload: bytes, reply: str, headers: dict[str, str] | None) -> None:
        """Send a message. Raises one of DOWN."""

    async def listen(self, subject: str, queue: str, on_message: OnMessage) -> Subscription:
        """Call `on_message` for each message. Raises one of DOWN."""

    async def unlisten(self, subscription: Subscription) -> None:
        """Unsubscribe at the server; messages it has already sent are passed on before this returns. Raises one of
        DOWN.
        """

    async def forget(self, subscription: Subscription) -> None:
        """Remove a subscription here and at the server, so no reconnect restores it; do not wait for its messages."""

    async def round_trip(self, timeout: float) -> bool:
        """Wait until the server has processed all sent data; False if it does not in time. Raises one of DOWN."""

    def connection_made(self) -> None:
        """Adjust the socket of a new connection."""

    def drop_waiting(self) -> None:
        """Drop data the socket has not taken."""

    async def watch(self, every: float, patience: float) -> None:
        """Check every `every` seconds for a dead connection with TCP still up, until cancelled."""

    async def shut(self) -> None:
        """Close at once: nothing reconnects, and nothing is waited for."""
