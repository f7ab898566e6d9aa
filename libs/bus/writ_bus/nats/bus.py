"""The Bus port over one NATS connection: made by `connect`, passed to every service."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from time import monotonic
from typing import Protocol

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription

from writ_bus import tracing
from writ_bus.backoff import pause_after
from writ_bus.errors import BusError, Unreachable
from writ_bus.grammar import check_filter, check_subject
from writ_bus.lanes import TIMEOUT
from writ_bus.nats import services
from writ_bus.nats.connection import NatsConnection, Options, open_connection
from writ_bus.nats.jetstream import CLOCK, call_subject, time_of
from writ_bus.nats.journal import NatsJournal
from writ_bus.nats.pull import PullWorker, pull_subject
from writ_bus.nats.replies import Replies
from writ_bus.nats.store import NatsStore
from writ_bus.port import Delivery, EventStore, Handler, Message, Service
from writ_bus.workers import BACKLOG, Workers
from writ_contracts import subjects

_logger = logging.getLogger("writ.bus")

CUT_OFF_PAUSE = 0.1
NO_RESPONDERS_PATIENCE = 10.0
SHORTEST = 0.05
"""Seconds; with a shorter timeout an attempt without a listener looks like one without a reply."""


class _Closable(Protocol):
    """Something that is open and can be ended."""

    async def close(self) -> None: ...

    async def abort(self) -> None: ...


class NatsSubscribed:
    """The Subscription port over NATS."""

    def __init__(self, connection: NatsConnection, workers: Workers, handler: Handler) -> None:
        self._connection = connection
        self._workers = workers
        self._handler = handler
        self._subscription: NatsSubscription | None = None

    async def open(self, subject: str, queue: str) -> None:
        self._subscription = await self._connection.listen(subject, self._receive, queue)

    def _receive(self, message: Msg) -> None:
        if not self._workers.submit(lambda: self._handle(message)):
            _logger.warning("subscribe.overrun", extra={"subject": message.subject})

    async def _handle(self, message: Msg) -> None:
        headers = message.headers or {}
        tracing.enter(headers)
        await self._handler(Message(message.subject, message.data, headers, message.reply))

    async def close(self) -> None:
        if self._subscription is not None:
            await self._connection.unlisten(self._subscription)
        await self._workers.finish()

    async def abort(self) -> None:
        """End the running handlers."""
        await self._workers.cancel()


class NatsBus:
    """The Bus port over NATS."""

    def __init__(self, connection: NatsConnection, replies: Replies) -> None:
        self.connection = connection
        self.replies = replies
        self._open: list[_Closable] = []
        self._work_is_replicated = False
        self.journal = NatsJournal(connection, replies, subjects.JOURNAL_STREAM, subjects.JOURNAL, subjects.REPUBLISHED)
        self.policies: EventStore = NatsJournal(connection, replies, subjects.POLICIES_STREAM, subjects.POLICIES, "")
        self.scans: EventStore = NatsJournal(connection, replies, subjects.SCANS_STREAM, subjects.SCANS, "")
        self.params = NatsStore(connection, replies, subjects.PARAMS_STREAM, subjects.PARAMS.removesuffix(".>"))
        self.results = NatsStore(connection, replies, subjects.RESULTS_STREAM, subjects.RESULTS.removesuffix(".>"))

    @property
    def connected(self) -> bool:
        return self.connection.connected

    @property
    def server(self) -> str:
        return self.connection.client.server_id

    async def wait_closed(self) -> None:
        await self.connection.closed.wait()

    async def server_time(self, *, timeout: float) -> float:
        info = await call_subject(self.replies, CLOCK, {}, timeout=timeout)
        self._work_is_replicated = bool((info.get("cluster") or {}).get("replicas"))
        return time_of(info)

    async def ping(self, timeout: float) -> None:
        await self.connection.round_trip(timeout)

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        await self.connection.publish(check_subject(subject), data, headers=tracing.outgoing(headers))

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        check_subject(subject)
        began = monotonic()
        deadline = began + timeout
        give_up = began + min(timeout, NO_RESPONDERS_PATIENCE)
        sent = tracing.outgoing(headers)
        for turn in count():
            try:
                left = max(deadline - monotonic(), 0.001)
                sent[TIMEOUT] = f"{left:.3f}"
                return _message_of(await self.replies.one(subject, data, timeout=left, headers=sent))
            except Unreachable:
                pause = pause_after(turn)
                if monotonic() + pause >= give_up:
                    raise
                await self.connection.wait_up(pause)
                if monotonic() + SHORTEST >= deadline:
                    raise
        raise AssertionError("nothing else ends this")

    async def request_many(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> list[Message]:
        check_subject(subject)
        sent = tracing.outgoing(headers)
        return [_message(one) for one in await self.replies.everybody(subject, data, timeout=timeout, headers=sent)]

    async def subscribe(
        self, subject: str, handler: Handler, *, queue: str = "", concurrency: int = 64
    ) -> NatsSubscribed:
        workers = Workers(concurrency, concurrency * BACKLOG)
        subscribed = NatsSubscribed(self.connection, workers, handler)
        await subscribed.open(check_filter(subject), queue)
        self._open.append(subscribed)
        return subscribed

    async def serve(self, service: Service) -> services.NatsServing:
        serving = services.NatsServing(self.connection, service)
        await serving.open()
        self._open.append(serving)
        return serving

    async def pull(
        self, durable: str, stream: str, handler: Callable[[Delivery], Awaitable[None]], *, slots: int
    ) -> PullWorker:
        subject = pull_subject(stream, durable)
        worker = PullWorker(self.connection, subject, handler, slots, lambda: self._work_is_replicated)
        await worker.open()
        self._open.append(worker)
        return worker

    async def drain(self, grace: float) -> None:
        opened, self._open = self._open, []
        try:
            async with asyncio.timeout(grace):
                await asyncio.gather(*(one.close() for one in opened))
        except TimeoutError:
            _logger.warning("bus.drain", extra={"grace": grace})
        await self._abort(opened)

    async def close(self) -> None:
        opened, self._open = self._open, []
        await self._abort(opened)

    async def _abort(self, opened: list[_Closable]) -> None:
        await asyncio.gather(*(one.abort() for one in opened))
        try:
            await self.connection.round_trip(1.0)
        except BusError:
            _logger.debug("bus.flush", exc_info=True)
        await self.connection.close()


def _message(message: Msg) -> Message:
    return Message(message.subject, message.data, message.headers or {}, message.reply)


def _message_of(message: Msg) -> Message:
    headers = message.headers or {}
    if (refused := services.refusal(headers)) is not None:
        raise refused
    return Message(message.subject, message.data, headers, message.reply)


async def connect(options: Options) -> NatsBus:
    """Return a connected bus. Raises Forbidden where the server does not know the key, Unreachable where it is not
    there within `options.wait`.
    """
    give_up = asyncio.get_running_loop().time() + options.wait
    while True:
        connection = await open_connection(options)
        replies = Replies(connection)
        try:
            await replies.open()
        except BaseException as error:  # also a caller that gives up
            await connection.close()
            # NATS accepts a connection while it reloads its configuration, and may then cut it off.
            if not isinstance(error, Unreachable) or asyncio.get_running_loop().time() >= give_up:
                raise
        else:
            return NatsBus(connection, replies)
        await asyncio.sleep(CUT_OFF_PAUSE)
