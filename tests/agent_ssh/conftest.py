"""The SSH backend on a real sshd on loopback, with a hostops that has the test operations."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.hostops.apt_root import AptRoot, host_cases

from writ_agent.backends.port import Task, TaskResult
from writ_agent_ssh.backend import SshBackend
from writ_agent_ssh.connection.credentials import SshCredentials
from writ_agent_ssh.connection.host_keys import KnownHosts
from writ_agent_ssh.host_sessions.pool import Pool
from writ_agent_ssh.startup.archive import build
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_hostops import processes
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.eventually import eventually
from writ_testing.peers.sshd import Sshd, sshd
from writ_testing.plugin.host_handlers import PACKAGES
from writ_testing.suites.backend import ProgressRecorder, task
from writ_testing.suites.host_cases import ON_A_REAL_HOST, HostCase, HostCases, listener, repository

CATALOGUE = load_catalogue()
ARCHIVE = build()
ID = encode_id(os.urandom(16))


class SshHost:
    """A server, and the backend for it."""

    def __init__(self, server: Sshd, *, connects: int = 4, idle: float = 600.0) -> None:
        self.server = server
        self.root = server.folder / "root"
        self.root.mkdir(exist_ok=True)
        known, credentials = KnownHosts(server.known_hosts), SshCredentials(server.keys)
        self.pool = Pool(ARCHIVE, credentials, known, idle=idle, connects=connects)
        self.backend = SshBackend(self.pool, ARCHIVE.operations)
        self.target: Target = server.target(file_roots=[str(self.root)])

    def task(self, name: str, operation_id: str = ID, **parameters: object) -> Task:
        return task(CATALOGUE[name], self.target, operation_id, **parameters)

    async def run(self, name: str, operation_id: str = ID, **parameters: object) -> TaskResult:
        return await self.backend.run(self.task(name, operation_id, **parameters), ProgressRecorder())

    def change(self, operation_id: str) -> Task:
        return self.task("test_count", operation_id, path=f"{self.root}/{operation_id}")

    def slow(self, operation_id: str) -> Task:
        return self.task("test_sleep", operation_id, stubborn=True)

    def refused(self, operation_id: str) -> Task:
        return self.task("file_write", operation_id, file_path="/etc/passwd", content="x")

    async def changed(self, operation_id: str) -> bool:
        path = self.root / operation_id
        return path.exists() and path.read_text() == f"{operation_id}\n"

    def host_cases(self) -> Iterator[HostCase]:
        vault = repository(self.server.folder / "vault")
        target = self.server.target(file_roots=[str(self.root)], backup=vault, scan_networks=["127.0.0.0/8"])
        made = HostCases(CATALOGUE, target, self.root)
        with listener() as port:
            yield from made.files()
            yield from made.network(port)
            yield from made.backups()
        apt = AptRoot(self.server.folder / "apt")
        packages(self.server.folder).write_text(json.dumps({"apt": apt.options(), "dpkg": apt.admin()}))
        yield from host_cases(made, apt)

    @property
    def elsewhere(self) -> set[str]:
        return {*ON_A_REAL_HOST, *(name for name in self.backend.operations if name.startswith("test_"))}

    async def busy(self, operation_id: str) -> bool:
        return len(processes.marked(operation_id)) > 2


def packages(folder: Path) -> Path:
    """Return the file that names the root with the host's packages; without it the machine's own count."""
    return folder / "packages.json"


@asynccontextmanager
async def ssh_host(folder: Path, *options: str, shell: str = "") -> AsyncIterator[SshHost]:
    """Yield an SSH host, and assert that the test leaves no process or file there or here."""
    before = held()
    environ = {PACKAGES: str(packages(folder))}
    async with sshd(folder, *options, shell=shell, environ=environ) as server:
        host = SshHost(server)
        try:
            yield host
        finally:
            await host.backend.close()
        await eventually(lambda: nothing_of(host), what="an end of what runs there")
        await eventually(lambda: whole(folder), what="an end of what is being written there")
    await eventually(lambda: back_to(before), what="an end of what is held here")


def held() -> tuple[int, int]:
    """Tasks and descriptors of this process."""
    return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))


async def back_to(before: tuple[int, int]) -> bool:
    return all(now <= then for now, then in zip(held(), before, strict=True))


async def nothing_of(host: SshHost) -> bool:
    """Assert that the host has no process besides the server, and none that an operation left."""
    return host.server.sessions() == [] and processes.marked(ID) == []


async def whole(folder: Path) -> bool:
    """Return true if no file is half written. A started operation keeps its result there without a listener."""
    return litter(folder) == []


def litter(folder: Path) -> list[Path]:
    """Return unfinished files."""
    return [*folder.rglob(".writ-*"), *folder.rglob("*.tmp")]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow a slow host more time to reconnect and to stop operations."""
    monkeypatch.setattr("writ_agent_ssh.backend.STOP_SECONDS", 20.0)
    monkeypatch.setattr("writ_agent_ssh.host_sessions.settlement.SILENT_SECONDS", 20.0)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[SshHost]:
    async with ssh_host(tmp_path / "host") as host:
        yield host
