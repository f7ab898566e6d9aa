"""A real nats-server for tests: Writ's own configuration, throw-away keys, free ports on loopback, streams in place."""

import os
import random
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from writ_bus.nats.bus import NatsBus, connect
from writ_bus.nats.client.direct import DirectClient
from writ_bus.nats.connection import Options
from writ_contracts.subjects import inbox_prefix
from writ_installation.nats.server import QUIET_PORTS
from writ_installation.processes.child import tie
from writ_nats_server.config import SERVICES, GatewayUser, ServerPlan, render
from writ_nats_server.process import ServerProcess
from writ_nats_server.streams import ACK_WAIT, Sizes, provision
from writ_trust.keys import Key, generate_seed

JOURNAL_BYTES = 64 << 20

CONNECTED_WITHIN = 30.0
PORTS = range(12_000, QUIET_PORTS.start)
"""Below the ports that Linux gives to clients (ip(7), `ip_local_port_range`) and those that `writ up` chooses: a free
port stays free until it is used, and during a restart of a server.
"""


def own_ports(environ: Mapping[str, str]) -> range:
    """Return the ports of one worker of pytest-xdist, whose number may be higher in place of one that crashed. Two
    workers with the same ones would, sooner or later, choose a port that the other has chosen and not yet bound.
    """
    workers = int(environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % workers
    return PORTS[worker * len(PORTS) // workers : (worker + 1) * len(PORTS) // workers]


def _from_anywhere(ports: range) -> Iterator[int]:
    """Yield all ports over and over; each run of the tests begins elsewhere."""
    at = random.SystemRandom().randrange(len(ports))
    return cycle([*ports[at:], *ports[:at]])


_ports = _from_anywhere(own_ports(os.environ))


def free_ports(number: int) -> list[int]:
    """Return consecutive loopback ports that were just free and were not returned lately."""
    found: list[int] = []
    while len(found) < number:
        port = next(_ports)
        follows = not found or port == found[-1] + 1
        found = ([*found, port] if follows else [port]) if _is_free(port) else []
    return found


def free_port() -> int:
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


INSTALLATION = "installationof" + 12 * "a"
"""The id that keys of a `WritServer` sign for."""


class WritServer:
    """A server with its plan and all keys. Users are named as their inboxes: `executor`, `alice`, `agent-a`."""

    def __init__(
        self,
        directory: Path,
        principals: Sequence[str],
        pools: Sequence[str],
        scanners: Sequence[str] = (),
        tokens: Sequence[str] = (),
        gateways: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._directory = directory
        self._stack = AsyncExitStack()
        others = (*(f"agent-{pool}" for pool in pools), *(f"enrol-{token}" for token in tokens))
        served = gateways or {}
        names = ("bootstrap", "system", "status", *SERVICES, *principals, *others, *served)
        self.keys = {str(name): Key(generate_seed(), INSTALLATION) for name in names}
        self.plan = ServerPlan(
            store_dir=str(directory / "jetstream"),
            port=free_port(),
            monitor_port=free_port(),
            bootstrap=[self.keys["bootstrap"].public],
            system=[self.keys["system"].public],
            status=[self.keys["status"].public],
            roles={role: [self.keys[role].public] for role in SERVICES},
            principals={name: [self.keys[name].public] for name in principals},
            scanners=scanners,
            gateways={name: GatewayUser(key=self.keys[name].public, principals=of) for name, of in served.items()},
            pools={pool: [self.keys[f"agent-{pool}"].public] for pool in pools},
            tokens={token: self.keys[f"enrol-{token}"].public for token in tokens},
        )
        self.process: ServerProcess

    @property
    def url(self) -> str:
        """Return the address for clients."""
        return f"nats://{self.plan.host}:{self.plan.port}"

    @property
    def config(self) -> Path:
        """Return the server's configuration file."""
        return self._directory / "nats-server.conf"

    async def start(self, *lines: str) -> None:
        """Start the process, for the first time or again on the same state. `lines`: of its configuration, too."""
        self.config.write_text("\n".join((render(self.plan), *lines)))
        log = self._directory / "nats-server.log"
        self.process = await ServerProcess.start(
            self.config, log, port=self.plan.port, monitor_port=self.plan.monitor_port, through=tie()
        )

    async def provision(self, *, journal_bytes: int = JOURNAL_BYTES, ack_wait: float = ACK_WAIT) -> None:
        """Create streams, and a consumer for each pool."""
        sizes = Sizes(journal=journal_bytes, params=16 << 20, results=16 << 20)
        async with self.connected("bootstrap") as bus:
            await provision(bus, self.plan.pools, sizes, ack_wait=ack_wait)

    async def add_principal(self, name: str) -> None:
        """Add a user while the server runs."""
        self.keys[name] = Key(generate_seed(), INSTALLATION)
        self.plan = replace(self.plan, principals={**self.plan.principals, name: [self.keys[name].public]})
        self.config.write_text(render(self.plan))
        await self.process.reload()

    async def add_pool(self, pool: str) -> None:
        """Add a new pool's agents while the server runs; `provision` makes their consumer."""
        key = self.keys[f"agent-{pool}"] = Key(generate_seed(), INSTALLATION)
        self.plan = replace(self.plan, pools={**self.plan.pools, pool: [key.public]})
        self.config.write_text(render(self.plan))
        await self.process.reload()

    def options(self, name: str, **changed: object) -> Options:
        """Return the connection options of `name`."""
        seed, inbox = self.keys[name].seed, inbox_prefix(name)
        options = Options(name=name, servers=[self.url], seed=seed, inbox_prefix=inbox, wait=CONNECTED_WITHIN)
        return replace(options, **changed)

    async def bus(self, name: str, **changed: object) -> NatsBus:
        """Return a bus of this user, closed with the server."""
        bus = await connect(self.options(name, **changed))
        self._stack.push_async_callback(bus.close)
        return bus

    @asynccontextmanager
    async def connected(self, name: str) -> AsyncIterator[NatsBus]:
        """Yield a bus of this user."""
        bus = await connect(self.options(name))
        try:
            yield bus
        finally:
            await bus.close()

    async def stop(self) -> None:
        """Close every bus, end the process."""
        await self._stack.aclose()
        await self.process.stop()


@asynccontextmanager
async def writ_server(
    directory: Path,
    *,
    principals: Sequence[str] = ("alice", "bob"),
    scanners: Sequence[str] = (),
    pools: Sequence[str] = ("a", "b"),
    tokens: Sequence[str] = (),
    gateways: Mapping[str, Sequence[str]] | None = None,
    journal_bytes: int = JOURNAL_BYTES,
    ack_wait: float = ACK_WAIT,
) -> AsyncIterator[WritServer]:
    """Yield a ready server with streams and consumers."""
    server = WritServer(directory, [*principals, *scanners], pools, scanners, tokens, gateways)
    await server.start()
    try:
        await server.provision(journal_bytes=journal_bytes, ack_wait=ack_wait)
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def open_server(directory: Path, *extra: str) -> AsyncIterator[tuple[ServerProcess, str]]:
    """Yield a server without permissions, and its address. `extra`: lines of its configuration."""
    config, port, monitor_port = directory / "open.conf", free_port(), free_port()
    lines = ("host: 127.0.0.1", f"port: {port}", f"http: 127.0.0.1:{monitor_port}", *extra)
    config.write_text("\n".join(lines))
    process = await ServerProcess.start(
        config, directory / "open.log", port=port, monitor_port=monitor_port, through=tie()
    )
    try:
        yield process, f"nats://127.0.0.1:{port}"
    finally:
        await process.stop()


def anybody(url: str, **changed: object) -> Options:
    """Return options for a server without authentication."""
    seed, inbox = generate_seed(), "_INBOX_anybody"
    options = Options(name="anybody", servers=[url], seed=seed, inbox_prefix=inbox, wait=CONNECTED_WITHIN)
    return replace(options, **changed)


def transport_info(bus: NatsBus, what: str) -> Any:
    """Return asyncio's data on the bus's connection: `socket`, `cipher`."""
    client: object = bus.connection.client
    assert isinstance(client, DirectClient)
    writer = getattr(client._transport, "_io_writer", None)
    assert writer is not None
    return writer.get_extra_info(what)
