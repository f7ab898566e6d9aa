"""The Proxmox backend against fakepve: effects are looked up in the server's own state."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent_proxmox.cluster import DEAF, WEB, Cluster

from writ_agent.backends.port import Done, Task
from writ_testing.peers.proxmox import Proxmox
from writ_testing.suites.backend import BackendSuite
from writ_testing.suites.host_trials import Trial


class ProxmoxHost(Cluster):
    """What the suite asks for."""

    def change(self, operation_id: str) -> Task:
        return self.task("container_start", operation_id, container_name="web")

    def slow(self, operation_id: str) -> Task:
        return self.task("container_stop", operation_id, container_name="deaf")

    def refused(self, operation_id: str) -> Task:
        return self.task("container_start", operation_id, container_name="absent")

    async def changed(self, operation_id: str) -> bool:
        return bool(self.server.pve.vm(WEB).status == "running")

    async def busy(self, operation_id: str) -> bool:
        tasks = list(self.server.pve.tasklog)
        return any(one["id"] == str(DEAF) and one["status"] == "running" for one in tasks)

    def trials(self) -> Iterator[Trial]:
        async def running(done: Done | None) -> bool:
            return bool(self.web.status == "running")

        async def stopped(done: Done | None) -> bool:
            return bool(self.web.status == "stopped")

        async def restarted(done: Done | None) -> bool:
            return self.server.calls("POST", "/status/reboot") > 0

        async def inspected(done: Done | None) -> bool:
            return done is not None and done.output["mounts"] == ["scsi0: local-lvm:vm-100-disk-0,size=8G"]

        self.web.stats["uptime"] = 0
        yield Trial(self.task("container_start", container_name="web"), running)
        yield Trial(self.task("container_inspect", container_name="web"), inspected)
        yield Trial(self.task("container_stop", container_name="web"), stopped)
        yield Trial(self.task("container_restart", container_name="web"), running)

    @property
    def elsewhere(self) -> set[str]:
        return set()


@pytest.fixture
def host(server: Proxmox, tmp_path: Path) -> Iterator[ProxmoxHost]:
    one = ProxmoxHost(server, tmp_path)
    yield one
    one.apis.close()


class TestProxmoxBackend(BackendSuite):
    """The suite, on fakepve."""
