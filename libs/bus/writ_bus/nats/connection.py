"""One connection to NATS: the only place with knowledge of nats-py's behaviour on errors.

It reconnects without a limit, or reports it is closed. A refusal by the server reaches the waiting call. Callbacks of
messages never block: the direct client calls them from within its parser.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import nats.errors
from nats.aio.subscription import Subscription as NatsSubscription

from writ_bus import tasks
from writ_bus.backoff import backoff
from writ_bus.errors import BusError, BusRefused, Forbidden, TimedOut, Unreachable
from writ_bus.nats.client.choice import make_client
from writ_bus.nats.client.port import DOWN, OnMessage
from writ_bus.nats.options import OnViolation as OnViolation
from writ_bus.nats.options import Options as Options
from writ_bus.nats.options import next_server
from writ_bus.nats.tls import check_encrypted, check_schemes, reason, tls_context, uses_tls
from writ_contracts.errors import ConfigError

_logger = logging.getLogger("writ.bus")
_violation = re.compile(r'permissions violation for (publish|subscription)(?: to)? "([^"]+)"').search

LOST = "the connection to NATS is lost; it is made again as soon as NATS replies"
_NO_INFO = "expecting INFO"
"""nats-py's words, in a plain Error, for a server whose first line is not the INFO of NATS, or none."""
LISTENING_WITHIN = 5.0
"""Seconds in which the server must have processed a subscription."""
HIGH_WATER = 8 << 20
"""Bytes that may wait for the socket before a sender has to wait."""


class NatsConnection:
    """A connected client, made by `open_connection`."""

    def __init__(self, options: Options) -> None:
        """Raises ConfigError for a server that may not be reached without TLS, and for a URL of another scheme."""
        self.options = options
        check_schemes(options.servers)
        if not options.plaintext:
            check_encrypted(options.servers, options.tls)
        self.client = make_client(options.client)
        self.loop = asyncio.get_running_loop()
        """The event loop, for frequent use: asyncio's own lookup is a system call in Python 3.11."""
        self.up = asyncio.Event()
        self.closed = asyncio.Event()
        self.on_lost: list[Callable[[], None]] = []
        self.on_back: list[Callable[[], None]] = []
        self.on_closed: list[Callable[[], None]] = []
        self.on_refused: list[Callable[[str, Forbidden], None]] = []
        self._refused = asyncio.Event()
        self._last_error: Exception | None = None
        self._watchdog: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Return whether messages can be sent now."""
        return self.client.is_connected

    @property
    def clustered(self) -> bool:
        """Return whether the server is one of several, so a stream may have a replica which lags behind."""
        return self.client.clustered

    async def open(self) -> None:
        """Connect, for at most `options.wait` seconds. Raises Forbidden at once for a wrong key, Unreachable at once
        for a certificate that does not hold, else at the end; ConfigError for files of TLS that cannot be used.
        """
        connecting = tasks.start(self.client.connect(**self._client_options()), "nats connect")
        refused = tasks.start(self._refused.wait(), "nats refused")
        try:
            await asyncio.wait({connecting, refused}, timeout=self.options.wait, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done() or connecting.exception():
                raise self._why_not(connecting)
        except BaseException:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            await self.client.shut()
            raise
        finally:
            refused.cancel()
        self.up.set()
        self.client.connection_made()
        every, patience = self.options.probe_every, self.options.probe_patience
        self._watchdog = tasks.keep("nats watchdog", lambda: self.client.watch(every, patience))

    def _why_not(self, connecting: asyncio.Task[None]) -> BusError:
        where = ", ".join(self.options.servers)
        error = connecting.exception() if connecting.done() else None
        error = error or self._last_error
        if text := reason(error):
            return Unreachable(f"{where} cannot be reached: {text}")
        if self._refused.is_set():
            return Forbidden(f"{where} does not know the key of {self.options.name}")
        if isinstance(error, ConnectionRefusedError):
            return Unreachable(f"{where} cannot be reached: connection refused, so no server listens there")
        if _NO_INFO in str(error):
            return Unreachable(f"{where} cannot be reached: what listens there did not begin as a NATS server does")
        text = str(error or "").strip()  # "" for a timeout of asyncio, after a server that accepts and says nothing
        return Unreachable(f"{where} cannot be reached: {text or f'no answer in {self.options.wait:g} s'}")

    def _client_options(self) -> dict[str, Any]:
        options = self.options
        return {
            "servers": options.servers,
            "name": options.name,
            "nkeys_seed_str": options.seed.decode(),
            "inbox_prefix": options.inbox_prefix,
            "tls": tls_context(options.tls) if uses_tls(options.servers, options.tls) else None,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.25,
            "reconnect_to_server_handler": next_server,
            "ping_interval": 10,
            "max_outstanding_pings": 2,
            # While disconnected nothing is buffered: a command sent minutes late is worse than one that failed.
            "pending_size": -1,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_reconnected,
            "closed_cb": self._on_closed,
        }

    async def _on_error(self, error: Exception) -> None:
        text = str(error)
        self._last_error = error
        if "authorization violation" in text.lower() or reason(error):
            self._refused.set()
        if match := _violation(text):
            self._on_refusal(match[1], match[2])
        else:
            _logger.debug("nats.error", extra={"error": text})

    def _on_refusal(self, verb: str, subject: str) -> None:
        action = "subscribe" if verb == "subscription" else verb  # as the server names it
        error = Forbidden(f"the server does not permit {self.options.name} to {action} to {subject}")
        for callback in list(self.on_refused):
            callback(subject, error)
        if self.options.on_violation:
            self.options.on_violation(verb, subject)

    async def _on_disconnected(self) -> None:
        self.up.clear()
        self.client.drop_waiting()
        for callback in list(self.on_lost):
            callback()
        self._trust_again()

    def _trust_again(self) -> None:
        """Make the TLS context again: without a restart an added CA counts, and a removed one no longer does."""
        if self.options.tls is None or not uses_tls(self.options.servers, self.options.tls):
            return
        try:
            self.client.use_tls(tls_context(self.options.tls))
        except ConfigError as error:
            _logger.warning("nats.tls", extra={"error": str(error)})

    async def _on_reconnected(self) -> None:
        self.client.connection_made()
        self.up.set()
        for callback in list(self.on_back):
            callback()

    async def _on_closed(self) -> None:
        self.up.clear()
        self.closed.set()
        for callback in list(self.on_closed):
            callback()

    def forget(self, *callbacks: Callable[[], None]) -> None:
        for listed in (self.on_lost, self.on_back, self.on_closed):
            listed[:] = [callback for callback in listed if callback not in callbacks]

    async def wait_up(self, pause: float) -> None:
        """Sleep for `pause`; while disconnected wait for the connection as well, for at most a second more."""
        await asyncio.sleep(pause)
        if not self.connected and not self.closed.is_set():
            try:
                async with asyncio.timeout(1.0):
                    await self.up.wait()
            except TimeoutError:
                return

    async def publish(
        self, subject: str, data: bytes, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Write the message to the socket. Raises Unreachable when there is none, or it takes no more."""
        if self.client.waiting_bytes > HIGH_WATER:
            await self._until_flowing()
        try:
            await self.client.publish(subject, data, reply, cast("dict[str, str] | None", headers))
        except nats.errors.MaxPayloadError:
            limit = self.client.max_payload
            raise BusRefused(f"{len(data)} bytes, the server takes at most {limit}", code="oversize") from None
        except DOWN as error:
            raise _not_connected(error) from error

    async def _until_flowing(self) -> None:
        """Wait a moment for the socket: nats-py buffers without a limit."""
        for pause in backoff(12, first=0.001):
            if not self.connected or self.client.waiting_bytes <= HIGH_WATER:
                return
            await asyncio.sleep(pause)
        raise Unreachable("the server takes no more data")

    async def listen(self, subject: str, on_message: OnMessage, queue: str = "") -> NatsSubscription:
        """Call `on_message` for each message from now on. Raises Forbidden, Unreachable, TimedOut; then, and after a
        cancellation, nothing is subscribed to.
        """
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def refuse(what: str, error: Forbidden) -> None:
            if what == subject.lower() and not refused.done():
                refused.set_exception(error)

        self.on_refused.append(refuse)
        try:
            subscription = await self.client.listen(subject, queue, on_message)
            try:
                await self.round_trip(LISTENING_WITHIN)  # the server's refusal comes before its pong
                if refused.done():
                    await refused
            except BaseException:
                await self.client.forget(subscription)  # or each reconnect would subscribe again, beside a second try
                raise
        except DOWN as error:
            raise _not_connected(error) from error
        finally:
            self.on_refused.remove(refuse)
        return subscription

    async def unlisten(self, subscription: NatsSubscription) -> None:
        """Unsubscribe; messages the server has already sent are passed on before this returns."""
        try:
            if self.connected:
                await self.client.unlisten(subscription)
        except DOWN:
            _logger.debug("nats.unsubscribe", exc_info=True)
        await self.client.forget(subscription)

    async def round_trip(self, timeout: float) -> None:
        """Wait until the server has processed everything sent. Raises TimedOut, Unreachable.

        nats-py forgets the pongs that a lost connection owes, so their futures would never be done.
        """
        if not self.connected:
            raise Unreachable(LOST)
        lost = asyncio.Event()
        self.on_lost.append(lost.set)
        answered = tasks.start(self.client.round_trip(timeout), "nats round trip")
        losing = tasks.start(lost.wait(), "nats loss")
        try:
            await asyncio.wait({answered, losing}, return_when=asyncio.FIRST_COMPLETED)
            done = answered.done() and answered.result()
        except DOWN as error:
            raise _not_connected(error) from error
        finally:
            self.forget(lost.set)
            answered.cancel()
            losing.cancel()
        if not done:
            raise Unreachable("the connection was lost") if lost.is_set() else TimedOut(f"no pong in {timeout:g} s")

    async def close(self) -> None:
        """Close at once; nothing reconnects or is waited for."""
        if self._watchdog:
            self._watchdog.cancel()
            await asyncio.gather(self._watchdog, return_exceptions=True)
        await self.client.shut()


def _not_connected(error: Exception) -> Unreachable:
    """Return the error of a message that was not sent. nats-py reports a full buffer for each message without a
    connection, since nothing is buffered (`pending_size`).
    """
    return Unreachable(LOST if isinstance(error, nats.errors.OutboundBufferLimitError) else f"{LOST}: {error}")


async def open_connection(options: Options) -> NatsConnection:
    connection = NatsConnection(options)
    await connection.open()
    return connection
