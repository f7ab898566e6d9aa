"""Monitoring data of the NATS servers: figures, streams, consumers.

The system account serves two requests to the accounts listed in `writ_nats_server.config`; no key of the system account
is needed. Each server replies by itself; for replicated data its leader's reply counts (server/monitor.go of
nats-server).
"""

from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from writ_bus.errors import BusRefused
from writ_bus.port import Bus

STATE = "writ.api.servers.state"
STREAMS = "writ.api.servers.streams"
PINGED = {STATE: "$SYS.REQ.SERVER.PING.VARZ", STREAMS: "$SYS.REQ.SERVER.PING.JSZ"}
"""The system account's subject of each."""
WITHIN = 1.0
"""Seconds in which all servers reply: their number is unknown beforehand."""
MOST_CONSUMERS = 200
"""Above this number consumers are counted and not listed: a reply has a limit."""

Reply = TypeVar("Reply")


class ServerListener(Struct, frozen=True, kw_only=True):
    """A server's address for other servers, or for leaf nodes."""

    tls_cert_not_after: datetime | None = None


class Server(Struct, frozen=True, kw_only=True):
    """One server; its counters are since its start."""

    server_name: str
    connections: int = 0
    subscriptions: int = 0
    slow_consumers: int = 0
    mem: int = 0
    in_msgs: int = 0
    out_msgs: int = 0
    tls_cert_not_after: datetime | None = None
    """The end of the certificate for clients."""
    cluster: ServerListener = ServerListener()
    leaf: ServerListener = ServerListener()

    @property
    def certificate_ends(self) -> dict[str, datetime]:
        """Return the ends of its certificates, by the kind of connection."""
        ends = {
            "clients": self.tls_cert_not_after,
            "servers": self.cluster.tls_cert_not_after,
            "leaf_nodes": self.leaf.tls_cert_not_after,
        }
        return {kind: end for kind, end in ends.items() if end is not None}


class StreamCopy(Struct, frozen=True, kw_only=True):
    """The copy of a stream on a server that follows its leader."""

    name: str
    """Of the server."""
    current: bool = False
    offline: bool = False


class CopyGroup(Struct, frozen=True, kw_only=True):
    """The servers that have a stream or consumer; without a leader where there is one server."""

    leader: str = ""
    replicas: list[StreamCopy] = field(default_factory=list)
    """The copies besides the leader's; complete in the leader's own reply."""


class ConsumerProgress(Struct, frozen=True, kw_only=True):
    """The progress of a durable consumer: not delivered yet, and delivered without an ack."""

    name: str
    num_pending: int = 0
    num_ack_pending: int = 0
    cluster: CopyGroup | None = None


class StreamState(Struct, frozen=True, kw_only=True):
    """The content of a stream."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    consumer_count: int = 0


class Stream(Struct, frozen=True, kw_only=True):
    """One stream, as one server has it."""

    name: str
    state: StreamState
    cluster: CopyGroup | None = None
    consumer_detail: list[ConsumerProgress] = field(default_factory=list)


class ServerFigures(Struct, frozen=True, kw_only=True):
    """All replying servers, all streams and, where they are few, all consumers."""

    servers: list[Server]
    streams: list[Stream]
    consumers: list[ConsumerProgress]
    copies: list[tuple[str, Stream]] = field(default_factory=list)
    """Each server's own copy of each stream, with the server's name."""


class _Account(Struct, frozen=True):
    stream_detail: list[Stream] = field(default_factory=list)


class _Streams(Struct, frozen=True):
    consumers: int = 0
    account_details: list[_Account] = field(default_factory=list)


class _ServerName(Struct, frozen=True):
    name: str


class _ServerReply(Struct, frozen=True):
    server: _ServerName
    data: msgspec.Raw


async def figures(bus: Bus) -> ServerFigures:
    """Return the present figures; empty where no server replies. Raises Forbidden, Unreachable, BusRefused."""
    servers = [server for _, server in await ping(bus, STATE, {}, Server)]
    replies = await ping(bus, STREAMS, {"streams": True}, _Streams)
    if replies and max(streams.consumers for _, streams in replies) <= MOST_CONSUMERS:
        replies = await ping(bus, STREAMS, {"streams": True, "consumer": True}, _Streams)
    held = [(name, one) for name, each in replies for account in each.account_details for one in account.stream_detail]
    return ServerFigures(
        servers=servers,
        streams=[one for name, one in held if _leads(name, one.cluster)],
        consumers=[
            consumer
            for name, one in held
            for consumer in one.consumer_detail
            if _leads(name, consumer.cluster or one.cluster)
        ],
        copies=held,
    )


async def ping(
    bus: Bus, subject: str, question: dict[str, Any], kind: type[Reply], *, within: float = WITHIN
) -> list[tuple[str, Reply]]:
    """Return the reply of each server to a question about itself, with the server's name, after `within` seconds.
    Raises BusRefused.
    """
    try:
        answers = [
            msgspec.json.decode(message.data, type=_ServerReply)
            for message in await bus.request_many(subject, msgspec.json.encode(question), timeout=within)
        ]
        return [(answer.server.name, msgspec.json.decode(answer.data, type=kind)) for answer in answers]
    except msgspec.DecodeError as error:
        raise BusRefused(f"{subject}: not the reply of a NATS server: {error}") from error


def _leads(server: str, cluster: CopyGroup | None) -> bool:
    return cluster is None or cluster.leader in ("", server)
