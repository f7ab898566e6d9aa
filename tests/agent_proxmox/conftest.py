"""One server for each file, reset for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent_proxmox.cluster import Cluster

from writ_testing.peers.proxmox import PatchedPve, Proxmox, proxmox


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxmox]:
    with proxmox(tmp_path_factory.mktemp("pve")) as one:
        yield one


@pytest.fixture
def cluster(server: Proxmox, tmp_path: Path) -> Iterator[Cluster]:
    """Guests and a backend; tasks end at once."""
    one = Cluster(server, tmp_path, time_scale=0.0)
    yield one
    one.apis.close()
    server.do(PatchedPve.end_tasks)
