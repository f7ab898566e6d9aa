"""The client by nats-py's public interface: slower, and independent of nats-py's internals but for a few guards.

It cannot look into nats-py's buffers. A message not sent before a disconnect is sent after it, and the receiver drops
it as late (`Writ-Timeout`), and a dead connection is noticed by nats-py's own pings, after 30 s at most.
"""

import asyncio
import logging
from contextlib import suppress
from ssl import SSLContext
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from writ_bus import tasks
from writ_bus.nats.client.guarded import GuardedClient
from writ_bus.nats.client.port import DOWN, OnMessage

_logger = logging.getLogger("writ.bus")

DRAIN_SECONDS = 1.0
CLOSE_SECONDS = 2.0
FLUSH_SECONDS = 120
"""Longer than nats-py takes to notice a dead connection: a flush that times out leaves a cancelled future behind, and
the late pong ends nats-py's reader on it.
"""


class PlainClient:
    """nats-py's client, unchanged but for the TLS that it insists on, and for malformed messages that it drops."""

    clustered = True
    """No public name of nats-py reports it; reads that must not be stale go to a stream's leader."""
    waiting_bytes = 0

    def __init__(self) -> None:
        self._client = GuardedClient()

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected

    @property
    def server_id(self) -> str:
        """Return an id of the present or last connection: no public name of nats-py reports the server's. Each start
        of a server counts its connections from the same number.
        """
        return f"{self._client.client_id or ''}-{self._client.stats['reconnects']}"

    @property
    def max_payload(self) -> int:
        return self._client.max_payload

    async def connect(self, **options: Any) -> None:
        await self._client.connect(**options)

    def use_tls(self, context: SSLContext) -> None:
        self._client.use_tls(context)

    async def publish(self, subject: str, payload: bytes, reply: str, headers: dict[str, str] | None) -> None:
        await self._client.publish(subject, payload, reply, headers)

    async def listen(self, subject: str, queue: str, on_message: OnMessage) -> Subscription:

        async def arrived(message: Msg) -> None:
            try:
                on_message(message)
            except Exception:
                _logger.exception("nats.callback")

        return await self._client.subscribe(subject, queue=queue, cb=arrived)

    async def unlisten(self, subscription: Subscription) -> None:
        """Drain the subscription. Raises one of DOWN."""
        draining = tasks.start(subscription.drain(), "drain")  # type: ignore[no-untyped-call]
        done, _ = await asyncio.wait({draining}, timeout=DRAIN_SECONDS)
        if done:
            draining.result()

    async def forget(self, subscription: Subscription) -> None:
        """Unsubscribe, unless already done."""
        with suppress(*DOWN):
            await subscription.unsubscribe()

    async def round_trip(self, timeout: float) -> bool:
        """Flush. Raises one of DOWN."""
        flushing = tasks.start(self._client.flush(timeout=FLUSH_SECONDS), "flush")
        done, _ = await asyncio.wait({flushing}, timeout=timeout)
        flushing.add_done_callback(_retrieved)
        if done:
            flushing.result()
        return bool(done)

    def connection_made(self) -> None:
        """Leave the socket as nats-py made it."""

    def drop_waiting(self) -> None:
        """Leave nats-py's buffer to it: nothing public empties it."""

    async def watch(self, every: float, patience: float) -> None:
        """Leave it to nats-py's pings."""
        await asyncio.Event().wait()

    async def shut(self) -> None:
        """Close; nats-py may wait long for a blocked socket, so no longer than two seconds."""
        closing = tasks.start(self._client.close(), "close")
        closing.add_done_callback(_retrieved)
        await asyncio.wait({closing}, timeout=CLOSE_SECONDS)


def _retrieved(task: asyncio.Future[None]) -> None:
    """Retrieve the exception, which nobody waits for any more."""
    if not task.cancelled() and (error := task.exception()):
        _logger.debug("nats.late", extra={"error": str(error)})
