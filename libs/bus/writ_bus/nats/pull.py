"""Worker on a durable consumer: one inbox for the worker, one pull request at a time, one reply token for each.

nats-py's fetch() stalls on a pull request the server has already answered (nats-io/nats.py#986). Here a status is
matched to its own request by the token, and a request without a heartbeat for two intervals is abandoned and made
again. No request is for more than the free slots: unacked messages here would be kept from other agents. A message has
its own subject and so no token; it counts for the one open request.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from time import monotonic

import msgspec
from nats.aio.msg import Msg
from nats.nuid import NUID

from writ_bus import tasks, tracing
from writ_bus.backoff import backoff
from writ_bus.errors import BusError
from writ_bus.nats.connection import NatsConnection
from writ_bus.nats.jetstream import API
from writ_bus.port import Delivery, Message
from writ_bus.workers import Workers

_logger = logging.getLogger("writ.bus")

EXPIRES = 30.0
HEARTBEAT = 2.0
_NANO = 1_000_000_000


class NatsDelivery:
    """The Delivery port over the message's ack subject."""

    __slots__ = ("_connection", "attempt", "message", "sequence")

    def __init__(self, connection: NatsConnection, message: Msg) -> None:
        self._connection = connection
        self.message = Message(message.subject, message.data, message.headers or {}, message.reply)
        self.attempt, self.sequence = _position(message.reply)

    async def ack(self) -> None:
        await self._connection.publish(self.message.reply, b"+ACK")

    async def nak(self, delay: float = 0.0) -> None:
        body = b'-NAK {"delay": %d}' % int(delay * _NANO) if delay > 0 else b"-NAK"
        await self._connection.publish(self.message.reply, body)

    async def working(self) -> None:
        await self._connection.publish(self.message.reply, b"+WPI")


def _position(ack: str) -> tuple[int, int]:
    """Return (attempt, stream sequence) of `$JS.ACK.<stream>.<consumer>.…`, or of the longer form with domain and
    account.
    """
    tokens = ack.split(".")
    start = 4 if len(tokens) == 9 else 6
    return int(tokens[start]), int(tokens[start + 1])


class PullWorker:
    """Pulls messages, and runs the handler in up to `slots` tasks."""

    def __init__(
        self,
        connection: NatsConnection,
        subject: str,
        handler: Callable[[Delivery], Awaitable[None]],
        slots: int,
    ) -> None:
        self._connection = connection
        self._subject = subject
        self._handler = handler
        self._slots = slots
        self._prefix = f"{connection.options.inbox_prefix}.{NUID().next().decode()}."
        self._tokens = count()
        self._token = ""
        self._requested = 0
        self._last_sign = 0.0
        self._wake = asyncio.Event()
        self._workers = Workers(slots, slots, on_free=self._on_free)
        self._pauses = backoff(most=2.0)
        self._pause = 0.0
        self._puller: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Subscribe, and start to pull."""
        self._subscription = await self._connection.listen(self._prefix + "*", self._on_message)
        self._connection.on_lost.append(self._give_up)
        self._connection.on_back.append(self._wake.set)
        self._puller = tasks.keep("pull", self._pull)

    def _on_message(self, message: Msg) -> None:
        self._last_sign = monotonic()
        status = message.headers.get("Status") if message.headers and not message.data else None
        if status is not None:
            self._on_status(message.subject[len(self._prefix) :], status, message)
            return
        self._requested -= 1
        if self._requested <= 0:
            self._wake.set()
        self._pauses = backoff(most=2.0)
        delivery = NatsDelivery(self._connection, message)
        if not self._workers.submit(lambda: self._handle(delivery)):
            _logger.warning("pull.overrun", extra={"sequence": delivery.sequence})

    def _on_status(self, token: str, status: str, message: Msg) -> None:
        if status == "100" or token != self._token:  # a heartbeat, or about a request that was given up
            return
        self._requested = 0
        if status not in ("404", "408"):  # these two: nothing came in time: request again
            self._pause = next(self._pauses)
            description = (message.headers or {}).get("Description")
            _logger.debug("pull.status", extra={"status": status, "description": description})
        self._wake.set()

    async def _handle(self, delivery: NatsDelivery) -> None:
        tracing.enter(delivery.message.headers)
        try:
            await self._handler(delivery)
        except Exception:
            _logger.exception("pull.handler", extra={"sequence": delivery.sequence})
            await self._put_back(delivery)

    async def _put_back(self, delivery: NatsDelivery) -> None:
        try:
            await delivery.nak(1.0)
        except BusError:
            _logger.debug("pull.nak", exc_info=True)  # then it comes again after the ack wait

    def _on_free(self) -> None:
        if self._requested <= 0:  # otherwise free slots change nothing
            self._wake.set()

    def _give_up(self) -> None:
        self._requested = 0
        self._wake.set()

    async def _pull(self) -> None:
        while True:
            self._wake.clear()
            now = monotonic()
            if self._requested > 0 and now - self._last_sign > 2 * HEARTBEAT:
                self._requested = 0
            try:
                await self._request_work(now)
            except BusError as error:
                self._requested, self._pause = 0, next(self._pauses)
                _logger.debug("pull.ask", extra={"error": str(error)})
            except Exception:  # a defect: without this loop its pool would silently stop
                self._requested, self._pause = 0, next(self._pauses)
                _logger.exception("pull.broke")
            await self._rest()

    async def _request_work(self, now: float) -> None:
        free = self._slots - self._workers.running
        if self._requested > 0 or free <= 0 or not self._connection.connected:
            return
        self._token, self._requested, self._last_sign = format(next(self._tokens), "x"), free, now
        ask = {"batch": free, "expires": int(EXPIRES * _NANO), "idle_heartbeat": int(HEARTBEAT * _NANO)}
        await self._connection.publish(self._subject, msgspec.json.encode(ask), self._prefix + self._token)

    async def _rest(self) -> None:
        """Wait until there is something to do; at most one heartbeat, to notice silence."""
        if self._pause:
            pause, self._pause = self._pause, 0.0
            await asyncio.sleep(pause)
            return
        try:
            async with asyncio.timeout(HEARTBEAT):
                await self._wake.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        await self._stop_pulling()
        await self._connection.unlisten(self._subscription)
        await self._workers.finish()

    async def _stop_pulling(self) -> None:
        if self._puller is not None:
            self._puller.cancel()
            await asyncio.gather(self._puller, return_exceptions=True)
        self._connection.forget(self._give_up, self._wake.set)

    async def abort(self) -> None:
        """Stop now; messages of running handlers come again after the ack wait."""
        await self._stop_pulling()
        await self._workers.cancel()


def pull_subject(stream: str, durable: str) -> str:
    """Return the subject for pulling the next messages of a consumer."""
    return f"{API}CONSUMER.MSG.NEXT.{stream}.{durable}"
