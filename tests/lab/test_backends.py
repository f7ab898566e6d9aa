"""The backends on a real host: each claimed operation runs there, and the host's own programs confirm it."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.lab import repository, vault
from tests.lab.conftest import new_subvolume
from tests.lab.host_cases import LabTrials
from tests.lab.hosts import LAB, SSH_PORT, VOLUME, Host, hosts, until, user_key
from tests.lab.repository import Repository
from tests.lab.vault import Vault

from writ_agent.backends.port import Task
from writ_agent_local.backend import LocalBackend
from writ_agent_ssh.backend import SshBackend
from writ_agent_ssh.connection.credentials import SshCredentials
from writ_agent_ssh.connection.host_keys import KnownHosts
from writ_agent_ssh.host_sessions.pool import Pool
from writ_agent_ssh.startup.archive import build
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_hostops import HANDLERS, processes
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.suites.backend import BackendSuite, ProgressRecorder, task
from writ_testing.suites.host_cases import HostCase, show

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

CATALOGUE = load_catalogue()
ARCHIVE = build()
CHILD = "import sys; sys.path.insert(0, '/srv/hostops.zip'); from writ_hostops.__main__ import main; main()"


class Ground:
    """A host with something for every operation to work on."""

    def __init__(self, host: Host, packages: Repository, backups: Vault, subvolume: str) -> None:
        self.host, self._packages, self._backups, self._subvolume = host, packages, backups, subvolume

    def target(self, backend: str, **more: Any) -> Target:
        """Return the target as an inventory declares it."""
        return Target(
            id=self.host.name,
            role="testing",
            backend=backend,
            file_roots=["/srv/data", VOLUME],
            backup=vault.DECLARED,
            scan_networks=["127.0.0.0/8"],
            **more,
        )

    def host_cases(self, target: Target) -> Iterator[HostCase]:
        """Yield the cases of all operations of hostops."""
        made = LabTrials(CATALOGUE, target, self.host)
        yield from made.services()
        yield from made.files()
        yield from made.network()
        yield from made.packages(self._packages)
        yield from made.backups(self._backups)
        yield from made.snapshots(self._subvolume)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Host, Repository, Vault]:
    """The far host, with packages to install and a repository for backups. (`host` is the suite's own word.)"""
    host = hosts()["host2"]
    return host, repository.make(host, tmp_path_factory.mktemp("repository")), vault.make(host)


@pytest.fixture
def ground(prepared: tuple[Host, Repository, Vault]) -> Iterator[Ground]:
    host, packages, backups = prepared
    host.run("mkdir", "-p", "/srv/data")
    with new_subvolume(host) as path:
        yield Ground(host, packages, backups, path)
    backups.restic("forget", "--unsafe-allow-remove-all", "--tag", "writ")


class SshToLab:
    """The SSH backend and a host of the lab whose root accepts its key."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        host = ground.host
        self._ground, self._host = ground, host
        (folder / "keys").mkdir(mode=0o700)
        shutil.copy(user_key(), folder / "keys" / host.name)
        (folder / "known_hosts").write_text(f"{host.address} {host.host_key}\n")
        pool = Pool(
            ARCHIVE, SshCredentials(folder / "keys"), KnownHosts(folder / "known_hosts"), idle=600.0, connects=4
        )
        self.backend = SshBackend(pool, ARCHIVE.operations)
        self.target = ground.target("ssh", connection={"host": host.address, "port": SSH_PORT, "user": "root"})

    def change(self, operation_id: str) -> Task:
        path = f"/srv/data/{operation_id}"
        return task(CATALOGUE["file_write"], self.target, operation_id, file_path=path, content="new\n")

    def slow(self, operation_id: str) -> Task:
        return task(CATALOGUE["test_sleep"], self.target, operation_id, stubborn=True)

    def refused(self, operation_id: str) -> Task:
        return task(CATALOGUE["service_start"], self.target, operation_id, service_name="no-such-unit")

    async def changed(self, operation_id: str) -> bool:
        return self._host.attempt("cat", f"/srv/data/{operation_id}")[1] == "new\n"

    async def busy(self, operation_id: str) -> bool:
        return len(processes.marked(operation_id)) > 2

    def host_cases(self) -> Iterator[HostCase]:
        return self._ground.host_cases(self.target)

    @property
    def elsewhere(self) -> set[str]:
        return {name for name in self.backend.operations if name.startswith("test_")}


class TestSshBackendOnARealHost(BackendSuite):
    @pytest.fixture
    async def host(self, ground: Ground, tmp_path: Path) -> AsyncIterator[SshToLab]:
        reached = SshToLab(ground, tmp_path)
        try:
            yield reached
        finally:
            await reached.backend.close()


@pytest.fixture
def local(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalBackend:
    """Return the local backend with child processes on the host itself, with its Python, its systemd, its apt."""
    (tmp_path / "hostops.zip").write_bytes(ARCHIVE.data)
    ground.host.copy(tmp_path / "hostops.zip", "/srv/hostops.zip")
    lab = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("LAB_")]
    command = ("env", *lab, str(LAB), "run", ground.host.name, "python3", "-I", "-c", CHILD)
    monkeypatch.setattr("writ_agent_local.child._COMMAND", command)
    return LocalBackend([], Path("/var/lib/writ-marks"))


async def test_each_operation_of_the_local_agent_shows_on_a_real_host(ground: Ground, local: LocalBackend) -> None:
    tried = set()
    for host_case in ground.host_cases(ground.target("local", connection={"host": ground.host.name})):
        await show(local, host_case)
        tried.add(host_case.task.operation.name)
    assert tried == set(HANDLERS) == set(local.operations)


DIES = """[Service]
ExecStart=/bin/sh -c 'sleep 0.02; exit 3'
"""
HANGS = """[Service]
ExecStart=/bin/sleep infinity
ExecStop=/bin/sleep 60
"""


async def test_a_unit_that_dies_at_once_or_hangs_in_its_stop_is_reported_as_it_is(
    ground: Ground, local: LocalBackend
) -> None:
    host, target = ground.host, ground.target("local", connection={"host": ground.host.name})
    for name, text in (("dies", DIES), ("hangs", HANGS)):
        host.write(f"/etc/systemd/system/{name}.service", text)
    host.run("systemctl", "daemon-reload")
    start = task(CATALOGUE["service_start"], target, encode_id(os.urandom(16)), service_name="dies")
    died = await local.run(start, ProgressRecorder())
    assert (died.outcome, died.code, died.effect, died.over) == ("failed", "job_failed", "done", True)
    assert "exit status 3" in died.message

    host.run("systemctl", "start", "hangs")
    stop = task(CATALOGUE["service_stop"], target, encode_id(os.urandom(16)), service_name="hangs")
    before = await local.baseline(stop)
    stopped = await local.run(replace(stop, timeout=2.0), ProgressRecorder())
    assert (stopped.outcome, stopped.code, stopped.effect, stopped.over) == ("unknown", "timeout", "maybe", False)
    assert host.show("hangs", "ActiveState") == "deactivating"
    assert (await local.probe(stop, before)).verdict == "unknown"
    host.run("systemctl", "kill", "--signal=KILL", "hangs")
    until(lambda: host.show("hangs", "ActiveState") in ("inactive", "failed"), 20.0, "it has stopped")
    assert (await local.probe(stop, before)).verdict == "took_effect"
    host.attempt("systemctl", "reset-failed", "dies", "hangs")
