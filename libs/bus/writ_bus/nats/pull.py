"""Worker on a durable consumer: one inbox for the worker, one pull request at a time, one reply token for each.

nats-py's fetch() stalls on a pull request the server has already answered (nats-io/nats.py#986). Here a status is
matched to its own request by the token, and a request without a status after its time is abandoned and made again. No
request is for more than the free slots: unacked messages here would be kept from other agents. A message has its own
subject and so no token; it counts for the one open request.

In a cluster NATS does not notice that the process behind a request has ended: it sees the interest of the server that
passes replies on to the process's account. So it delivers to such a request until that expires, and these deliveries
are lost. Hence a request is short, a worker that closes returns what still comes, and a delivery comes again soon
unless its worker confirms it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
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

EXPIRES = 5.0
"""Seconds of a pull request. In a cluster each one is stored by the consumer's servers, so shorter ones cost more."""
LATE = 2.0
"""Seconds after a request's end within which its status arrives."""
CONFIRM_EVERY = 0.5
"""Seconds after which an unsettled delivery is confirmed, and again; the ack wait is several times as long."""
CONFIRMED_FOR = 10.0
"""Seconds for which a delivery is confirmed, from its arrival or from `working`. A handler that hangs loses it then."""
RETURNED_FOR = 0.25
"""Seconds until a delivery comes again that a closing worker has returned; it may be the only one."""
_NANO = 1_000_000_000


class NatsDelivery:
    """The Delivery port over the message's ack subject."""

    __slots__ = ("_connection", "attempt", "confirm_at", "confirm_until", "message", "sequence", "settled")

    def __init__(self, connection: NatsConnection, message: Msg) -> None:
        self._connection = connection
        self.settled = False
        now = monotonic()
        self.confirm_at, self.confirm_until = now + CONFIRM_EVERY, now + CONFIRMED_FOR
        self.message = Message(message.subject, message.data, message.headers or {}, message.reply)
        self.attempt, self.sequence = _position(message.reply)

    async def ack(self) -> None:
        self.settled = True
        await self._connection.publish(self.message.reply, b"+ACK")

    async def nak(self, delay: float = 0.0) -> None:
        self.settled = True
        body = b'-NAK {"delay": %d}' % int(delay * _NANO) if delay > 0 else b"-NAK"
        await self._connection.publish(self.message.reply, body)

    async def working(self) -> None:
        self.confirm_until = monotonic() + CONFIRMED_FOR
        await self.confirm()

    async def confirm(self) -> None:
        """Restart the ack wait at the server."""
        self.confirm_at = monotonic() + CONFIRM_EVERY
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
        is_replicated: Callable[[], bool],
    ) -> None:
        """`is_replicated`: whether the consumer has copies on several servers, as far as is known."""
        self._connection = connection
        self._subject = subject
        self._handler = handler
        self._slots = slots
        self._is_replicated = is_replicated
        self._prefix = f"{connection.options.inbox_prefix}.{NUID().next().decode()}."
        self._tokens = count()
        self._token = ""
        self._requested = 0
        self._over_at = 0.0
        self._closing = False
        self._unsettled: set[NatsDelivery] = set()
        self._confirming: asyncio.TimerHandle | None = None
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
        status = message.headers.get("Status") if message.headers and not message.data else None
        if status is not None:
            self._on_status(message.subject[len(self._prefix) :], status, message)
            return
        self._requested -= 1
        if self._requested <= 0:
            self._wake.set()
        self._pauses = backoff(most=2.0)
        delivery = NatsDelivery(self._connection, message)
        if self._closing:
            tasks.start(self._put_back(delivery, RETURNED_FOR), "pull return")
        elif not self._workers.submit(lambda: self._handle(delivery)):
            _logger.warning("pull.overrun", extra={"sequence": delivery.sequence})

    def _on_status(self, token: str, status: str, message: Msg) -> None:
        if token != self._token:  # about a request that was given up
            return
        self._requested = 0
        if status not in ("404", "408"):  # these two: nothing came in time: request again
            self._pause = next(self._pauses)
            description = (message.headers or {}).get("Description")
            _logger.debug("pull.status", extra={"status": status, "description": description})
        self._wake.set()

    async def _handle(self, delivery: NatsDelivery) -> None:
        tracing.enter(delivery.message.headers)
        self._unsettled.add(delivery)
        self._confirm_later()
        try:
            await self._handler(delivery)
        except Exception:
            _logger.exception("pull.handler", extra={"sequence": delivery.sequence})
            await self._put_back(delivery, 1.0)

    def _confirm_later(self) -> None:
        if self._confirming is None:
            self._confirming = self._connection.loop.call_later(CONFIRM_EVERY, self._confirm_due)

    def _confirm_due(self) -> None:
        """Keep unsettled deliveries from other workers: their ack wait is short. A handler may have passed its delivery
        on, as an agent does with one for a slow host.
        """
        self._confirming, now = None, monotonic()
        self._unsettled = {one for one in self._unsettled if not one.settled and now < one.confirm_until}
        for delivery in self._unsettled:
            if now >= delivery.confirm_at:
                tasks.start(self._confirm(delivery), "pull confirm")
        if self._unsettled:
            self._confirm_later()

    async def _confirm(self, delivery: NatsDelivery) -> None:
        if delivery.settled:  # since the task was started; it would replace the delay of a nak
            return
        try:
            await delivery.confirm()
        except BusError:
            _logger.debug("pull.confirm", exc_info=True)  # then it comes again after the ack wait

    async def _put_back(self, delivery: NatsDelivery, delay: float) -> None:
        try:
            await delivery.nak(delay)
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
            if self._requested > 0 and now > self._over_at:
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
        self._token, self._requested, self._over_at = format(next(self._tokens), "x"), free, now + EXPIRES + LATE
        ask = {"batch": free, "expires": int(EXPIRES * _NANO)}
        await self._connection.publish(self._subject, msgspec.json.encode(ask), self._prefix + self._token)

    async def _rest(self) -> None:
        """Wait until there is something to do, or the open request is overdue."""
        if self._pause:
            pause, self._pause = self._pause, 0.0
            await asyncio.sleep(pause)
            return
        try:
            async with asyncio.timeout(EXPIRES + LATE):
                await self._wake.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        """Return what still comes, and end once no delivery can come any more and the running handlers have ended."""
        self._closing = True
        await self._stop_pulling()
        if self._is_replicated():
            await asyncio.gather(self._until_request_ends(), self._workers.finish())
        await self._connection.unlisten(self._subscription)
        await self._workers.finish()
        self._connection.forget(self._give_up, self._wake.set)

    async def _stop_pulling(self) -> None:
        if self._puller is not None:
            self._puller.cancel()
            await asyncio.gather(self._puller, return_exceptions=True)

    async def _until_request_ends(self) -> None:
        while self._requested > 0 and (left := self._over_at - monotonic()) > 0:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()

    async def abort(self) -> None:
        """Stop now; messages of running handlers come again after the ack wait."""
        self._closing = True
        await self._stop_pulling()
        self._connection.forget(self._give_up, self._wake.set)
        await self._workers.cancel()
        self._unsettled.clear()


def pull_subject(stream: str, durable: str) -> str:
    """Return the subject for pulling the next messages of a consumer."""
    return f"{API}CONSUMER.MSG.NEXT.{stream}.{durable}"
