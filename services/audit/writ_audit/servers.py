"""Gauges of the NATS servers. Audit updates them, since it may read everything and changes nothing."""

import asyncio

from writ_bus.archive_announcements import archives
from writ_bus.nats.monitoring import ServerFigures, figures
from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.errors import WritError
from writ_runtime.health import Attention
from writ_runtime.logs import Log
from writ_runtime.metric_series import AtMost
from writ_runtime.metrics import Metrics

EVERY = 15.0
SERVERS, CONSUMERS = 16, 50

_log = Log("writ.audit")


class Servers:
    """The gauges of the NATS servers."""

    def __init__(self, measured: Metrics) -> None:
        self._consumer_names = AtMost(CONSUMERS)
        server, stream = {"server": AtMost(SERVERS)}, {"stream": subjects.STREAMS}
        consumer = {"consumer": self._consumer_names}
        self._count = measured.gauge("writ_nats_servers", "NATS servers that replied to the last query.")
        self._connections = measured.gauge("writ_nats_connections", "Clients connected.", server)
        self._subscriptions = measured.gauge("writ_nats_subscriptions", "Subscriptions.", server)
        self._slow = measured.gauge(
            "writ_nats_slow_consumers", "Clients disconnected for reading too slowly, since the server's start.", server
        )
        self._memory = measured.gauge("writ_nats_memory_bytes", "Memory of the server.", server)
        self._ends = measured.gauge(
            "writ_nats_certificate_end_seconds",
            "When a server's certificate ends, in Unix time.",
            {**server, "connections": ("clients", "servers", "leaf_nodes")},
        )
        self._behind = measured.gauge(
            "writ_nats_copies_behind",
            "Streams of a cluster whose copy on this server is not current, or lacks events of the journal.",
            server,
        )
        self._not_current = set[tuple[str, str]]()
        """Server and stream of each copy that was not current at the last query."""
        self._archived = 0
        """The last event of the announced archives that is known: no copy may begin later than the next one."""
        self._problem = ""
        self._messages = measured.gauge("writ_nats_stream_messages", "Messages of a stream.", stream)
        self._bytes = measured.gauge("writ_nats_stream_bytes", "Size of a stream.", stream)
        self._consumers = measured.gauge("writ_nats_stream_consumers", "Durable consumers of a stream.", stream)
        self._pending = measured.gauge(
            "writ_nats_consumer_pending_messages", "Work that a pool's consumer has not delivered yet.", consumer
        )
        self._unacked = measured.gauge(
            "writ_nats_consumer_unacked_messages", "Work that is delivered and not acknowledged.", consumer
        )

    async def watch(self, bus: Bus) -> None:
        """Query the servers every 15 seconds until cancelled. Unknown values are left out."""
        known = ""
        while True:
            problem = ""
            try:
                found = await figures(bus)
                if any(first > self._archived + 1 for first in _journal_begins(found).values()):
                    self._archived = max((one.last for one in await archives(bus.journal)), default=0)
                self.show(found)
            except WritError as error:
                problem = str(error)
                self.show(ServerFigures(servers=[], streams=[], consumers=[]))
            if problem and problem != known:
                _log.warning("servers.not_known", error=problem)
            known = problem
            await asyncio.sleep(EVERY)

    def show(self, figures: ServerFigures) -> None:
        """Set these series and remove all others."""
        self._count.set(len(figures.servers))
        self._connections.replace({(one.server_name,): one.connections for one in figures.servers})
        self._subscriptions.replace({(one.server_name,): one.subscriptions for one in figures.servers})
        self._slow.replace({(one.server_name,): one.slow_consumers for one in figures.servers})
        self._memory.replace({(one.server_name,): one.mem for one in figures.servers})
        self._ends.replace(
            {
                (one.server_name, kind): end.timestamp()
                for one in figures.servers
                for kind, end in one.certificate_ends.items()
            }
        )
        self._show_copies(figures)
        self._messages.replace({(one.name,): one.state.messages for one in figures.streams})
        self._bytes.replace({(one.name,): one.state.bytes for one in figures.streams})
        self._consumers.replace({(one.name,): one.state.consumer_count for one in figures.streams})
        pending, unacked = dict[tuple[str, ...], float](), dict[tuple[str, ...], float]()
        for one in figures.consumers:
            key = (self._consumer_names.named(one.name),)
            pending[key] = pending.get(key, 0.0) + one.num_pending
            unacked[key] = unacked.get(key, 0.0) + one.num_ack_pending
        self._pending.replace(pending)
        self._unacked.replace(unacked)

    async def check(self) -> str | None:
        """Return the servers of a cluster that lack current and whole copies, or None if there are none."""
        return Attention(self._problem) if self._problem else None

    def _short_copies(self, figures: ServerFigures) -> dict[str, int]:
        """Return the first event of each copy of the journal that lacks events before it, by server. NATS calls such a
        copy current; it has them from a limit that its server lifted late, after an archive.
        """
        begins = _journal_begins(figures)
        short = {server: first for server, first in begins.items() if first > self._archived + 1}
        return short if len(short) < len(begins) else {}  # if no copy is whole, services report a replaced journal

    def _show_copies(self, figures: ServerFigures) -> None:
        """Show copies that lack events, those whose server is down, and those that were not current in two queries:
        under load a copy may lack the events of the last milliseconds.
        """
        groups = [(one.name, one.cluster) for one in figures.streams if one.cluster is not None]
        copies = [(copy, stream) for stream, group in groups for copy in group.replicas]
        late = {(copy.name, stream) for copy, stream in copies if copy.offline or not copy.current}
        counts = {copy.name: 0 for copy, _ in copies}
        streams: dict[str, list[str]] = {}
        for copy, stream in copies:
            if copy.offline or (copy.name, stream) in late & self._not_current:
                counts[copy.name] += 1
                streams.setdefault(copy.name, []).append(stream)
        short = self._short_copies(figures)
        for server in short.keys() - streams.keys():
            counts[server] = counts.get(server, 0) + 1
        self._behind.replace({(server,): count for server, count in counts.items()})
        self._not_current = late
        problems = [
            f"NATS server {server} is down or catches up: it has no current copy of {', '.join(sorted(names))}"
            for server, names in sorted(streams.items())
        ]
        problems += [
            f"NATS server {server} lacks events {self._archived + 1} to {first - 1} of the journal:"
            " start it with an empty store"
            for server, first in sorted(short.items())
        ]
        self._problem = "; ".join(problems)


def _journal_begins(figures: ServerFigures) -> dict[str, int]:
    """Return the first event of each copy of the journal, by server; nothing without a cluster."""
    return {
        server: one.state.first_seq
        for server, one in figures.copies
        if one.name == subjects.JOURNAL_STREAM and one.cluster is not None
    }
