"""Endpoints as a micro service (NATS ADR-32): discoverable, counted, and with replies to inboxes only.

The server does not check a reply subject against anybody's permissions: any permitted requester could have our reply
published on a subject of their choice. So only inboxes get replies. A handler's exception is a defect and stays here:
the requester learns it happened, not its text.
"""

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.nuid import NUID

from writ_bus import tracing
from writ_bus.errors import BusError, BusRefused, Full
from writ_bus.grammar import is_inbox
from writ_bus.lanes import Lanes
from writ_bus.nats.connection import NatsConnection
from writ_bus.port import Endpoint, EndpointReply, Message, Service
from writ_bus.workers import WaitingBytes, Workers

_logger = logging.getLogger("writ.bus")

ERROR = "Nats-Service-Error"
ERROR_CODE = "Nats-Service-Error-Code"
OVERLOADED = {ERROR: "overloaded", ERROR_CODE: "429"}
OVERSIZE = {ERROR: "the reply is larger than a message may be", ERROR_CODE: "413"}
FAILED = {ERROR: "internal error", ERROR_CODE: "500"}


def refusal(headers: Mapping[str, str]) -> BusError | None:
    """Return the error expressed by a reply with these headers."""
    code, what = headers.get(ERROR_CODE), headers.get(ERROR, "no description")
    if code is None:
        return None
    if code == OVERLOADED[ERROR_CODE]:
        return Full(what)
    if code == OVERSIZE[ERROR_CODE]:
        return BusRefused(what, code="oversize")
    return BusRefused(f"the service failed: {what}")


def size_of(message: Msg | Message) -> int:
    """Return the bytes of a message with its headers: a message may consist of headers alone."""
    headers = message.headers or {}
    return len(message.data) + sum(len(name) + len(value) for name, value in headers.items())


class EndpointInfo(msgspec.Struct, frozen=True):
    """An endpoint in the reply to INFO."""

    name: str
    subject: str
    queue_group: str
    metadata: Mapping[str, str] = {}


class EndpointStats(msgspec.Struct):
    """An endpoint in the reply to STATS; times in nanoseconds."""

    name: str
    subject: str
    queue_group: str
    num_requests: int = 0
    num_errors: int = 0
    last_error: str = ""
    processing_time: int = 0
    average_processing_time: int = 0


class Pong(msgspec.Struct, frozen=True, tag_field="type", tag="io.nats.micro.v1.ping_response"):
    """The reply to $SRV.PING."""

    name: str
    id: str
    version: str
    metadata: Mapping[str, str]


class ServiceInfo(msgspec.Struct, frozen=True, tag_field="type", tag="io.nats.micro.v1.info_response"):
    """The reply to $SRV.INFO."""

    name: str
    id: str
    version: str
    metadata: Mapping[str, str]
    description: str
    endpoints: list[EndpointInfo]


class Stats(msgspec.Struct, frozen=True, tag_field="type", tag="io.nats.micro.v1.stats_response"):
    """The reply to $SRV.STATS."""

    name: str
    id: str
    version: str
    metadata: Mapping[str, str]
    started: str
    endpoints: list[EndpointStats]


class Discovery:
    """Discovery data of one instance of a service; the same bytes on every bus."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.id = NUID().next().decode()
        self._started = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self.stats = {
            one.name: EndpointStats(one.name, one.subject, queue_of(service, one)) for one in service.endpoints
        }

    def subjects(self) -> dict[str, str]:
        """Return subject to verb, for all discovery requests to this instance."""
        names = ("", f".{self._service.name}", f".{self._service.name}.{self.id}")
        return {f"$SRV.{verb}{name}": verb for verb in ("PING", "INFO", "STATS") for name in names}

    def reply_to(self, verb: str) -> bytes:
        """Return the reply to PING, INFO or STATS."""
        service = self._service
        who = (service.name, self.id, service.version, dict(service.metadata))
        if verb == "PING":
            return msgspec.json.encode(Pong(*who))
        if verb == "STATS":
            return msgspec.json.encode(Stats(*who, self._started, list(self.stats.values())))
        endpoints = [EndpointInfo(one.name, one.subject, queue_of(service, one)) for one in service.endpoints]
        return msgspec.json.encode(ServiceInfo(*who, service.description, endpoints))

    def count(self, endpoint: Endpoint, started_ns: int, *, failed: bool) -> None:
        stats = self.stats[endpoint.name]
        stats.num_requests += 1
        stats.processing_time += time.perf_counter_ns() - started_ns
        stats.average_processing_time = stats.processing_time // stats.num_requests
        if failed:
            stats.num_errors += 1
            stats.last_error = FAILED[ERROR]


def queue_of(service: Service, endpoint: Endpoint) -> str:
    """Return the queue group the replicas share."""
    return endpoint.queue or f"q-{service.name}"


class NatsServing:
    """The Serving port over NATS."""

    def __init__(self, connection: NatsConnection, service: Service) -> None:
        self._connection = connection
        self._service = service
        self._discovery = Discovery(service)
        self._subscriptions: list[NatsSubscription] = []
        self._lanes: list[Lanes] = []
        self._waiting = WaitingBytes()
        self._control = Workers(16, 256)
        self.refused_replies = 0

    @property
    def failures(self) -> int:
        return sum(stats.num_errors for stats in self._discovery.stats.values())

    async def open(self) -> None:
        """Subscribe to the endpoints, and only then become discoverable."""
        for endpoint in self._service.endpoints:
            await self._open_endpoint(endpoint)
        for subject, verb in self._discovery.subjects().items():
            await self._open_control(subject, verb)

    async def _open_endpoint(self, endpoint: Endpoint) -> None:
        lanes = Lanes(endpoint, self._waiting)
        self._lanes.append(lanes)

        def receive(message: Msg) -> None:
            if not self._may_answer(message):
                return
            job, size = partial(self._handle, endpoint, message), size_of(message)
            if not lanes.submit(message.subject, message.headers or {}, size, job):
                self._control.submit(lambda: self._reply(message.reply, b"", OVERLOADED))

        queue = queue_of(self._service, endpoint)
        self._subscriptions.append(await self._connection.listen(endpoint.subject, receive, queue))

    async def _open_control(self, subject: str, verb: str) -> None:
        def receive(message: Msg) -> None:
            if message.reply and self._may_answer(message):
                self._control.submit(lambda: self._reply(message.reply, self._discovery.reply_to(verb), {}))

        self._subscriptions.append(await self._connection.listen(subject, receive))

    def _may_answer(self, message: Msg) -> bool:
        if not message.reply or is_inbox(message.reply):
            return True
        self.refused_replies += 1
        _logger.warning("serve.refused_reply", extra={"subject": message.subject, "reply": message.reply[:200]})
        return False

    async def _handle(self, endpoint: Endpoint, message: Msg) -> None:
        headers = message.headers or {}
        tracing.enter(headers)
        started = time.perf_counter_ns()
        try:
            answer = await endpoint.handler(Message(message.subject, message.data, headers, message.reply))
        except Exception:
            _logger.exception("serve.handler", extra={"endpoint": endpoint.name})
            self._discovery.count(endpoint, started, failed=True)
            await self._reply(message.reply, b"", FAILED)
            return
        self._discovery.count(endpoint, started, failed=False)
        if isinstance(answer, EndpointReply):
            await self._reply(message.reply, answer.data, answer.headers)
        else:
            await self._reply(message.reply, answer, {})

    async def _reply(self, reply: str, data: bytes, headers: Mapping[str, str]) -> None:
        if not reply:
            return
        try:
            await self._connection.publish(reply, data, headers=tracing.outgoing(headers))
        except BusError as error:
            _logger.warning("serve.reply", extra={"error": str(error)})
            if error.code == "oversize":
                await self._reply(reply, b"", OVERSIZE)
            # else the requester will time out, and may repeat the request

    async def close(self) -> None:
        for subscription in self._subscriptions:
            await self._connection.unlisten(subscription)
        self._subscriptions.clear()
        for lanes in self._lanes:
            await lanes.finish()
        await self._control.finish()

    async def abort(self) -> None:
        """End the running handlers."""
        for lanes in self._lanes:
            await lanes.cancel()
        await self._control.cancel()
