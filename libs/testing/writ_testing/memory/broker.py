"""Subscriptions within one process: delivery, queue groups, services."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count

from msgspec import Struct

from writ_bus import tracing
from writ_bus.errors import Unreachable
from writ_bus.grammar import check_filter, is_inbox, matches
from writ_bus.lanes import Lanes
from writ_bus.nats import services
from writ_bus.port import Endpoint, EndpointReply, Message, Service
from writ_bus.workers import WaitingBytes, Workers
from writ_testing.memory.journal import Disk

MAX_PAYLOAD = 2 * 1024 * 1024

Receive = Callable[[Message], None]


class _Listener(Struct, frozen=True, eq=False):
    filter: str
    queue: str
    receive: Receive


class Broker:
    """The server: its subscriptions and its disk."""

    def __init__(self, *, max_bytes: int = 64 << 20, ack_wait: float = 10.0) -> None:
        self.disk = Disk(max_bytes=max_bytes, ack_wait=ack_wait)
        self.policies = Disk(max_bytes=max_bytes, ack_wait=ack_wait)
        self.scans = Disk(max_bytes=max_bytes, ack_wait=ack_wait)
        self.listeners: list[_Listener] = []
        self.starts = 1
        self._turn = count()
        self._inboxes = count()

    def inbox(self) -> str:
        """Return a new reply subject."""
        return f"_INBOX.memory.{next(self._inboxes)}"

    def deliver(self, message: Message) -> bool:
        """Deliver to every plain listener and to one of each queue group. Return whether there was any."""
        if not self.disk.online.is_set():
            raise Unreachable("the server is away")
        hearing = [one for one in self.listeners if matches(one.filter, message.subject)]
        groups: dict[str, list[_Listener]] = {}
        for one in hearing:
            groups.setdefault(one.queue or str(id(one)), []).append(one)
        turn = next(self._turn)
        for group in groups.values():
            group[turn % len(group)].receive(message)
        return bool(hearing)

    def stop(self) -> None:
        """Stop the server; stored events stay."""
        self.disk.online.clear()
        self.policies.online.clear()
        self.scans.online.clear()

    def start(self) -> None:
        self.starts += 1
        self.disk.online.set()
        self.policies.online.set()
        self.scans.online.set()
        self.disk.changed()


class MemorySubscribed:
    """A Subscription over one or more listeners."""

    def __init__(self, broker: Broker, workers: Sequence[Workers | Lanes]) -> None:
        self._broker = broker
        self._workers = list(workers)
        self._listeners: list[_Listener] = []

    def listen(self, filter: str, queue: str, receive: Receive) -> None:
        """Listen from now on."""
        listener = _Listener(check_filter(filter), queue, receive)
        self._listeners.append(listener)
        self._broker.listeners.append(listener)

    def _unlisten(self) -> None:
        for listener in self._listeners:
            self._broker.listeners.remove(listener)
        self._listeners.clear()

    async def close(self) -> None:
        self._unlisten()
        for workers in self._workers:
            await workers.finish()

    async def abort(self) -> None:
        """End the running handlers."""
        self._unlisten()
        for workers in self._workers:
            await workers.cancel()


class MemoryServing(MemorySubscribed):
    """A Serving within one process."""

    def __init__(self, broker: Broker, service: Service) -> None:
        super().__init__(broker, [])
        self._discovery = services.Discovery(service)
        self.refused_replies = 0
        waiting = WaitingBytes()
        for endpoint in service.endpoints:
            lanes = Lanes(endpoint, waiting)
            self._workers.append(lanes)
            self.listen(endpoint.subject, services.queue_of(service, endpoint), self._receiver(endpoint, lanes))
        for subject, verb in self._discovery.subjects().items():
            self.listen(subject, "", self._presenter(verb))

    @property
    def failures(self) -> int:
        return sum(stats.num_errors for stats in self._discovery.stats.values())

    def _presenter(self, verb: str) -> Receive:
        return lambda message: self._reply(message, self._discovery.reply_to(verb), {})

    def _receiver(self, endpoint: Endpoint, lanes: Lanes) -> Receive:
        def receive(message: Message) -> None:
            if message.reply and not is_inbox(message.reply):
                self.refused_replies += 1
                return
            job, size = partial(self._handle, endpoint, message), services.size_of(message)
            if not lanes.submit(message.subject, message.headers, size, job):
                self._reply(message, b"", services.OVERLOADED)

        return receive

    async def _handle(self, endpoint: Endpoint, message: Message) -> None:
        tracing.enter(message.headers)
        try:
            answer = await endpoint.handler(message)
        except Exception as error:
            self._discovery.count(endpoint, 0, failed=True)
            self._reply(message, b"", services.FAILED)
            raise error
        self._discovery.count(endpoint, 0, failed=False)
        answer = answer if isinstance(answer, EndpointReply) else EndpointReply(answer)
        self._reply(message, answer.data, answer.headers)

    def _reply(self, message: Message, data: bytes, headers: Mapping[str, str]) -> None:
        if len(data) > MAX_PAYLOAD:
            data, headers = b"", services.OVERSIZE
        if message.reply and self._broker.disk.online.is_set():
            self._broker.deliver(Message(message.reply, data, tracing.outgoing(headers)))
