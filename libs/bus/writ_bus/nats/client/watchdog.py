"""Watchdog for a dead connection with TCP still up: it cuts the connection, so nats-py reconnects.

nats-py's own pings do not: with data in its write buffer it waits without a limit for the old socket to close
(nats-io/nats.py#671). An aborted transport ends this wait.
"""

import asyncio
import logging
import socket

import nats.errors
from nats.aio.client import PING_PROTO, Client

from writ_bus import tasks
from writ_bus.nats.client.port import DOWN

_logger = logging.getLogger("writ.bus")

UNACKNOWLEDGED_MS = 15_000


def limit_silence(client: Client) -> None:
    """Let the kernel abort the connection when data is unacknowledged for 15 s (Linux: TCP_USER_TIMEOUT, tcp(7))."""
    writer = getattr(client._transport, "_io_writer", None)
    sock = writer.get_extra_info("socket") if writer and not writer.is_closing() else None  # over TLS it would raise
    if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)


async def send_ping(client: Client) -> asyncio.Future[bool]:
    """Send a ping after all earlier data; the future is done with its pong. Never cancel this future.

    Client.flush() writes its ping ahead of pending data, and when it times out it leaves a cancelled future behind, on
    which the late pong ends nats-py's reader.
    """
    pong: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    client._pongs.append(pong)
    await client._send_command(PING_PROTO)
    await client._flush_pending()
    return pong


class Watchdog:
    """Pings each `every` seconds and waits `patience` for the pong."""

    def __init__(self, client: Client, every: float, patience: float) -> None:
        self._client = client
        self._every = every
        self._patience = patience
        self._stuck: object = None
        self._unusable: object = None

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            if self._client.is_connected:
                self._stuck = None
                await self._probe()
            elif not self._client.is_closed:
                self._unstick()

    async def _probe(self) -> None:
        writer = self._writer()
        try:
            pong = await send_ping(self._client)
        except DOWN as error:  # it is being lost, which nats-py is about to notice; unless its reading task has ended
            _logger.debug("nats.probe", extra={"error": str(error)})
            if self._unusable is writer and self._client.is_connected and self._writer() is writer:
                _logger.warning("nats.closed_unheard", extra={"error": str(error)})
                await self._reconnect()
            self._unusable = writer
            return
        done, _ = await asyncio.wait({pong}, timeout=self._patience)
        if not done and self._client.is_connected and self._writer() is writer:
            _logger.warning("nats.half_open", extra={"patience": self._patience})
            await self._reconnect()

    async def _reconnect(self) -> None:
        self._abort()
        await self._client._process_op_err(nats.errors.StaleConnectionError())

    def _unstick(self) -> None:
        """Restart a reconnect without progress for a whole round: cut its socket, or start it again if its task has
        died.
        """
        task = self._client._reconnection_task
        if task is None or task.done():
            self._client._reconnection_task = tasks.spawn(self._client._attempt_reconnect(), "nats reconnect")
        elif self._client.is_reconnecting and self._stuck is self._writer():
            self._abort()
        self._stuck = self._writer()

    def _writer(self) -> object:
        return getattr(self._client._transport, "_io_writer", None)

    def _abort(self) -> None:
        writer = getattr(self._client._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
