"""A cluster of real nats-servers, mostly three, for streams with as many replicas; its links may be proxied.

The configuration is the one that Writ writes for an external server, with a few lines for each node.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from msgspec import json as fast
from msgspec.structs import replace

from writ_contracts.subjects import JOURNAL_STREAM
from writ_documents.atomic_files import write_atomically
from writ_installation.files.home import Home
from writ_installation.nats.external_server import external_configuration
from writ_installation.nats.stream_sizes import sizes
from writ_installation.processes.child import tie
from writ_installation.server_access.server_address import ServerAddress
from writ_nats_server.process import ServerProcess
from writ_testing.eventually import eventually
from writ_testing.peers.links import Links
from writ_testing.peers.nats_server import free_port

NODES = ("n1", "n2", "n3")


class ClusterNode:
    """One server of the cluster. Clients and the other nodes reach it at `shown_port` and `shown_route_port`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.port, self.monitor_port, self.route_port = free_port(), free_port(), free_port()
        self.shown_port, self.shown_route_port = self.port, self.route_port
        self._config, self._log = folder / f"{name}.conf", folder / f"{name}.log"
        self._store = folder / name
        self.process: ServerProcess

    async def put_behind(self, links: Links) -> None:
        """Let clients (target `n1`) and routes (target `n1.route`) pass proxies."""
        self.shown_port = await links.listen(self.name, self.port)
        self.shown_route_port = await links.listen(f"{self.name}.route", self.route_port)

    def configure(self, ours: Path, others: Sequence["ClusterNode"]) -> None:
        """Write the configuration. `ours` is Writ's file; later lines override it."""
        settings: dict[str, Any] = {
            "server_name": self.name,
            "port": self.port,
            "http": f"127.0.0.1:{self.monitor_port}",
            "jetstream": {"store_dir": str(self._store), "sync_interval": "always"},
        }
        if others:
            settings["cluster"] = {
                "name": "writ",
                "listen": f"127.0.0.1:{self.route_port}",
                "advertise": f"127.0.0.1:{self.shown_route_port}",
                "no_advertise": self.shown_port != self.port,  # clients would learn addresses beside the proxies
                "routes": [f"nats://127.0.0.1:{one.shown_route_port}" for one in others],
            }
        lines = [f"include {ours.name}", *(f"{key}: {json.dumps(value)}" for key, value in settings.items())]
        self._config.write_text("\n".join(lines))

    async def start(self) -> None:
        """Start it, and wait until it sees a majority and has caught up."""
        self.process = await ServerProcess.start(
            self._config, self._log, port=self.port, monitor_port=self.monitor_port, through=tie()
        )

    async def stream(self, name: str) -> dict[str, Any] | None:
        """Return the node's data on its copy of this stream, and its configuration as this node has applied it; None
        without a copy or an answer.
        """
        try:
            observed = await asyncio.to_thread(self._monitor, "/jsz?accounts=true&streams=true&config=true")
        except OSError:
            return None
        found = [one for account in observed.get("account_details") or () for one in account.get("stream_detail") or ()]
        return next((one for one in found if one["name"] == name), None)

    async def jetstream(self) -> dict[str, Any]:
        """Return what the node knows of the cluster's JetStream: its `leader`, and of the others if it leads."""
        observed: dict[str, Any] = (await asyncio.to_thread(self._monitor, "/jsz"))["meta_cluster"]
        return observed

    def _monitor(self, path: str) -> dict[str, Any]:
        with urlopen(f"http://127.0.0.1:{self.monitor_port}{path}", timeout=30) as answer:
            return dict(fast.decode(answer.read()))


class Cluster:
    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.nodes = [ClusterNode(name, folder) for name in names]
        self._folder = folder

    @property
    def url(self) -> str:
        """Return the address for NATS_URL."""
        return ",".join(f"nats://127.0.0.1:{node.shown_port}" for node in self.nodes)

    async def leader(self, stream: str = JOURNAL_STREAM) -> ClusterNode:
        """Return the present leader of this stream."""

        async def find_leader() -> ClusterNode | None:
            for node in self.nodes:
                if not node.process.exited.is_set():
                    observed = await node.stream(stream)
                    name = observed["cluster"].get("leader") if observed else None
                    if name:
                        return next(one for one in self.nodes if one.name == name)
            return None

        return await eventually(find_leader, within=60, what=f"a leader of {stream}")

    async def whole(self, stream: str = JOURNAL_STREAM) -> None:
        """Wait until every copy of the stream is complete."""

        async def is_complete() -> bool:
            observed = await (await self.leader(stream)).stream(stream)
            replicas = (
                observed["cluster"].get("replicas", []) if observed else []
            )  # only the leader answers, which may change
            return len(replicas) == len(self.nodes) - 1 and all(one["current"] for one in replicas)

        await eventually(is_complete, within=60, what="complete copies")

    def load(self, home: Home, *nodes: ClusterNode) -> None:
        """Write the configuration for the present files; have these nodes load it once, as an operator does."""
        _write_configuration(home, self._folder)
        for node in nodes:
            os.kill(node.process.pid, signal.SIGHUP)

    def pids(self) -> dict[int, str]:
        """Return the names of the running nodes by pid."""
        return {node.process.pid: node.name for node in self.nodes if hasattr(node, "process")}


def _write_configuration(home: Home, folder: Path) -> Path:
    ours = folder / "writ-nats.conf"
    address = ServerAddress(host="127.0.0.1", port=4222, monitor_port=8222)
    ours.write_text(external_configuration(home, address))
    return ours


@asynccontextmanager
async def cluster_for(
    home: Home, folder: Path, names: Sequence[str] = NODES, links: Links | None = None
) -> AsyncIterator[Cluster]:
    """Run a cluster within the block. Start the installation with `cluster.url` as NATS_URL."""
    cluster = Cluster(folder, names)
    expected = replace(sizes(home), replicas=len(names))
    write_atomically(home.nats / "sizes.json", fast.encode(expected))
    ours = _write_configuration(home, folder)
    if links is not None:
        for node in cluster.nodes:
            await node.put_behind(links)
    for node in cluster.nodes:
        node.configure(ours, [one for one in cluster.nodes if one is not node])
    await asyncio.gather(*(node.start() for node in cluster.nodes))
    try:
        yield cluster
    finally:
        await asyncio.gather(*(node.process.stop() for node in cluster.nodes if hasattr(node, "process")))
