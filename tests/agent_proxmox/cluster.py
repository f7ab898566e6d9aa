"""A backend on fakepve, for the tests of this folder."""

from pathlib import Path
from typing import Any

from writ_agent.backends.port import Task, TaskResult
from writ_agent_proxmox.backend import ProxmoxBackend
from writ_agent_proxmox.connection.api import Apis
from writ_agent_proxmox.connection.credentials import ProxmoxTokens
from writ_agent_proxmox.tasks.task_notes import Notes
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.ids import encode_id
from writ_contracts.operations import Catalogue
from writ_testing.peers.proxmox import PatchedPve, Proxmox
from writ_testing.suites.backend import ProgressRecorder, task

CATALOGUE = Catalogue(BUILT_IN)
WEB, DEAF = 100, 101


class Cluster:
    """A fake Proxmox server with one guest that starts and one that ignores a shutdown."""

    def __init__(self, server: Proxmox, folder: Path, time_scale: float = 1.0) -> None:
        self.server = server
        self.notes = Notes(folder / "notes")
        self.apis = Apis(ProxmoxTokens(server.tokens))
        self.backend = ProxmoxBackend(self.apis, self.notes)
        self.target = server.target()
        server.do(lambda pve: empty(pve, time_scale))
        self.web: Any = server.vm(WEB, "web")
        self.deaf: Any = server.vm(DEAF, "deaf", status="running")
        self.deaf.acpi = False
        server.vm(900, "base", template=True)
        self._number = 0

    def task(self, name: str, operation_id: str = "", **parameters: Any) -> Task:
        """Return a task on the target."""
        self._number += 1
        ident = operation_id or encode_id(self._number.to_bytes(16, "big"))
        return task(CATALOGUE[name], self.target, ident, **parameters)

    async def done(self, name: str, **parameters: Any) -> TaskResult:
        """Carry an operation out. Raises WritError."""
        return await self.backend.run(self.task(name, **parameters), ProgressRecorder())


def empty(pve: PatchedPve, time_scale: float) -> None:
    """Leave no guest, fault or task."""
    pve.vms.clear()
    pve.cts.clear()
    pve.faults.clear()
    pve.failures.clear()
    pve.exits.clear()
    pve.managed.clear()
    pve.deaf_tasks.clear()
    pve.requests.clear()
    pve.tasklog.clear()
    pve.unknown.clear()
    pve.unknown_for = 0
    pve.storages["local"]["volumes"] = {}
    pve.nodes = {"pve1": {"online": True}}
    pve.quorate = True
    pve.time_scale = time_scale
