"""An installation whose every connection to NATS passes a link that may fail."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from writ_installation.files.home import Home
from writ_installation.processes.readiness import probe
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, running_installation
from writ_testing.peers.links import Links, running_links
from writ_testing.peers.nats_cluster import Cluster, cluster_for

CLIENT = "client"
"""The name of this process among the sources of links."""


class LinkedInstallation:
    """An installation, its servers and the links between them. Targets of links are the names of servers."""

    def __init__(self) -> None:
        self.cluster: Cluster
        self.installation: RunningInstallation
        self.links: Links

    def names(self) -> dict[int, str]:
        found = {os.getpid(): CLIENT} | (self.cluster.pids() if hasattr(self, "cluster") else {})
        if hasattr(self, "installation"):
            found |= {one.pid: one.name for one in self.installation.report.processes if one.pid is not None}
        return found

    def name_of(self, kind: str) -> str:
        """Return the first process of a kind: `executor-1`, `agent`, ..."""
        return next(one for one in sorted(self.names().values()) if one.startswith(kind))

    async def well(self, within: float = 60.0) -> None:
        """Wait until every process is ready."""

        async def ready() -> bool:
            home = self.installation.home
            processes = [one for one in self.installation.report.processes if one.pid is not None]
            found = await asyncio.gather(*(probe(home.run / f"{one.name}.json", one.pid) for one in processes))
            return all(one.ready for one in found)

        await eventually(ready, within=within, what="that every process is ready")


@asynccontextmanager
async def linked_installation(
    folder: Path,
    home: Home,
    *,
    servers: Sequence[str] = ("n1",),
    executors: int = 2,
    environ: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> AsyncIterator[LinkedInstallation]:
    """Yield an installation on one server, or on a cluster, that runs within the block."""
    linked = LinkedInstallation()
    async with (
        running_links(linked.names) as linked.links,
        cluster_for(home, folder, servers, linked.links) as linked.cluster,
        running_installation(
            folder,
            home=home,
            executors=executors,
            environ={**(environ or {}), "NATS_URL": linked.cluster.url},
            arguments=arguments,
        ) as linked.installation,
    ):
        yield linked
