"""The Proxmox backend against fakepve: effects are looked up in the server's own state."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent_proxmox.cluster import DEAF, WEB, Cluster

from writ_agent.backends.port import Task, TaskResult
from writ_testing.peers.proxmox import Proxmox
from writ_testing.suites.backend import BackendSuite
from writ_testing.suites.host_cases import HostCase

IMAGE = "debian-13-standard_13.1-1_amd64.tar.zst"


class ProxmoxHost(Cluster):
    """Implement the host that the suite requires."""

    def change(self, operation_id: str) -> Task:
        return self.task("container_start", operation_id, container_name="web")

    def slow(self, operation_id: str) -> Task:
        return self.task("container_stop", operation_id, container_name="deaf")

    def refused(self, operation_id: str) -> Task:
        return self.task("container_start", operation_id, container_name="absent")

    def __init__(self, server: Proxmox, folder: Path) -> None:
        super().__init__(server, folder)
        scope = server.connection(storage="local-lvm", bridge="vmbr0")
        self.target = server.target(connection=scope)

    async def changed(self, operation_id: str) -> bool:
        return bool(self.server.pve.vm(WEB).status == "running")

    async def busy(self, operation_id: str) -> bool:
        tasks = list(self.server.pve.tasklog)
        return any(one["id"] == str(DEAF) and one["status"] == "running" for one in tasks)

    def host_cases(self) -> Iterator[HostCase]:
        async def running(done: TaskResult | None) -> bool:
            return bool(self.web.status == "running")

        async def stopped(done: TaskResult | None) -> bool:
            return bool(self.web.status == "stopped")

        async def inspected(done: TaskResult | None) -> bool:
            return done is not None and done.output["mounts"] == ["scsi0: local-lvm:vm-100-disk-0,size=8G"]

        async def listed(done: TaskResult | None) -> bool:
            return done is not None and bool(next(iter(done.output.values())))

        yield HostCase(self.task("container_start", container_name="web"), running)
        yield HostCase(self.task("container_inspect", container_name="web"), inspected)
        yield HostCase(self.task("guest_stop", guest_name="web"), stopped)
        yield HostCase(self.task("container_restart", container_name="web"), running)
        yield HostCase(self.task("container_stop", container_name="web"), stopped)
        for name in ("guest_list", "node_status", "storage_status"):
            yield HostCase(self.task(name), listed)
        yield HostCase(self.task("task_log", upid=str(self.server.pve.tasklog[-1]["upid"])), listed)
        yield from self.snapshots()
        yield from self.backups()
        yield from self.creation()
        yield from self.movement()

    def snapshots(self) -> Iterator[HostCase]:
        web = {"container_name": "web"}

        async def first(done: TaskResult | None) -> bool:
            return "first" in self.web.snapshots

        async def second(done: TaskResult | None) -> bool:
            return "second" in self.web.snapshots

        async def back(done: TaskResult | None) -> bool:
            return bool(self.web.config.get("parent") == "first")

        async def gone(done: TaskResult | None) -> bool:
            return "second" not in self.web.snapshots

        async def listed(done: TaskResult | None) -> bool:
            return done is not None and {one["snapshot_name"] for one in done.output["snapshots"]} == {
                "first",
                "second",
            }

        yield HostCase(self.task("snapshot_create", snapshot_name="first", description="why", **web), first)
        yield HostCase(self.task("snapshot_create", snapshot_name="second", **web), second)
        yield HostCase(self.task("snapshot_list", **web), listed)
        yield HostCase(self.task("snapshot_restore", snapshot_name="first", **web), back)
        yield HostCase(self.task("snapshot_delete", snapshot_name="second", **web), gone)

    def backups(self) -> Iterator[HostCase]:
        web = {"container_name": "web"}

        def volumes() -> list[Any]:
            stored = self.server.pve.storages["local"].get("volumes", {})
            return [one for one in stored.values() if one.get("notes") == "writ nightly-1"]

        async def there(done: TaskResult | None) -> bool:
            return len(volumes()) == 1

        async def listed(done: TaskResult | None) -> bool:
            return done is not None and done.output["backups"][0]["backup_id"] == "nightly-1"

        async def gone(done: TaskResult | None) -> bool:
            return not volumes()

        yield HostCase(self.task("backup_create", backup_id="nightly-1", **web), there)
        yield HostCase(self.task("backup_list", **web), listed)
        yield HostCase(self.task("backup_delete", backup_id="nightly-1"), gone)

    def creation(self) -> Iterator[HostCase]:
        async def cloned(done: TaskResult | None) -> bool:
            guest = self.named("app")
            return guest is not None and str(guest.config.get("cores")) == "2" and "vmbr1" in guest.config["net0"]

        async def made(done: TaskResult | None) -> bool:
            return any(one.config["hostname"] == "ct1" and one.status == "running" for one in self.server.pve.cts)

        async def gone(done: TaskResult | None) -> bool:
            return self.named("app") is None

        async def no_container(done: TaskResult | None) -> bool:
            return not self.server.pve.cts

        size: dict[str, Any] = {"cores": 2, "memory": 512, "bridge": "vmbr1", "vlan": 7, "tags": ["app"]}
        yield HostCase(self.task("guest_create", guest_name="app", template="base", full=True, **size), cloned)
        self.server.do(lambda pve: pve.store_file("local", IMAGE, 1024, "vztmpl"))
        yield HostCase(self.task("container_create", container_name="ct1", image=f"local:vztmpl/{IMAGE}"), made)
        yield HostCase(self.task("guest_delete", guest_name="app", purge=True), gone)
        yield HostCase(self.task("container_delete", container_name="ct1", force=True), no_container)

    def movement(self) -> Iterator[HostCase]:
        self.server.do(lambda pve: pve.add_node("pve2"))

        async def grown(done: TaskResult | None) -> bool:
            return str(self.web.config["scsi0"]).endswith("size=16G")

        async def moved(done: TaskResult | None) -> bool:
            return bool(self.web.node == "pve2")

        yield HostCase(self.task("guest_resize", guest_name="web", disk="scsi0", size=16), grown)
        yield HostCase(self.task("guest_migrate", guest_name="web", node="pve2"), moved)

    def named(self, name: str) -> Any:
        """Return the virtual machine with this name."""
        return next((one for one in self.server.pve.vms if one.name == name), None)

    @property
    def elsewhere(self) -> set[str]:
        return {"backup_restore"}


@pytest.fixture
def host(server: Proxmox, tmp_path: Path) -> Iterator[ProxmoxHost]:
    one = ProxmoxHost(server, tmp_path)
    yield one
    one.apis.close()


class TestProxmoxBackend(BackendSuite):
    """The suite, on fakepve."""
