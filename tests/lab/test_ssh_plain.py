"""A real host without Python for its sshd: services and packages by its own programs, reported as hostops does.

The host's logs contain no secret.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.lab.hosts import Host, until, user_key

from writ_agent.backends.port import Task, TaskResult
from writ_agent.work.running import RunningOperation
from writ_agent_ssh.backend import SshBackend
from writ_agent_ssh.connection.credentials import SshCredentials
from writ_agent_ssh.connection.host_keys import KnownHosts
from writ_agent_ssh.host_sessions.pool import Pool
from writ_agent_ssh.startup.archive import build
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue
from writ_testing.suites.backend import ProgressRecorder

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
CATALOGUE = Catalogue(BUILT_IN)
PORT = 2222
PROGRAMS = "/opt/without-python"
CONFIG = f"""Include /etc/ssh/sshd_config.d/lab.conf
Port {PORT}
PidFile none
PermitRootLogin prohibit-password
SetEnv PATH={PROGRAMS}
LogLevel DEBUG3
"""
CANARY = "canary-b7e40a"
HANGING = """[Service]
ExecStartPre=/bin/sleep 60
ExecStart=/bin/sleep infinity
"""


class Far:
    """The host, by both ways: with its Python and without."""

    def __init__(self, host: Host, backend: SshBackend) -> None:
        self.host, self.backend = host, backend
        self._number = 0

    def task(self, name: str, *, port: int = PORT, **given: object) -> Task:
        self._number += 1
        operation = CATALOGUE[name]
        connection = {"host": self.host.address, "user": "root", "port": port, "host_keys": [self.host.host_key]}
        target = Target(
            id=f"far-{port}", role="testing", backend="ssh", connection=connection, file_roots=["/srv/plain"]
        )
        return Task(
            operation_id=encode_id(self._number.to_bytes(8, "big") + bytes(7) + b"\x07"),
            attempt=1,
            operation=operation,
            target=target,
            parameters=operation.check(given),
            timeout=60.0,
        )

    async def run(self, name: str, *, port: int = PORT, **given: object) -> TaskResult:
        return await self.backend.run(self.task(name, port=port, **given), ProgressRecorder())


@pytest.fixture
def without_python(far_host: Host) -> Iterator[Host]:
    """A second sshd on the host, for which there is next to nothing on the PATH."""
    far_host.run("mkdir", "-p", PROGRAMS, "/srv/plain")
    for name in ("env", "timeout", "cat", "systemctl", "dpkg-query"):
        far_host.run("ln", "-sf", f"/usr/bin/{name}", f"{PROGRAMS}/{name}")
    far_host.write("/etc/ssh/without-python", CONFIG)
    far_host.run("systemd-run", "--unit=without-python", "/usr/sbin/sshd", "-D", "-f", "/etc/ssh/without-python")
    until(lambda: f":{PORT}" in far_host.run("ss", "-ltn"), 20.0, "the second sshd listens")
    yield far_host
    far_host.run("systemctl", "stop", "without-python")
    far_host.run("rm", "-r", PROGRAMS, "/srv/plain", "/etc/ssh/without-python")


@pytest.fixture
async def far(without_python: Host, tmp_path: Path) -> AsyncIterator[Far]:
    for port in (22, PORT):
        (tmp_path / f"far-{port}").write_bytes(user_key().read_bytes())
        (tmp_path / f"far-{port}").chmod(0o600)
    archive = build()
    pool = Pool(archive, SshCredentials(tmp_path), KnownHosts(None), idle=600.0, connects=2)
    backend = SshBackend(pool, archive.operations)
    yield Far(without_python, backend)
    await backend.close()


async def test_restart_of_a_service_is_reported_as_by_hostops(far: Far) -> None:
    before = far.host.show("nginx", "InvocationID")
    task = far.task("service_restart", service_name="nginx")
    baseline = await far.backend.baseline(task)
    preview = await far.backend.preview(task)
    assert (preview["would"], far.host.show("nginx", "InvocationID")) == ("restart", before)
    done = await far.backend.run(task, ProgressRecorder())
    assert (done.outcome, done.effect, done.over) == ("succeeded", "done", True)
    assert done.output["invocation_id"] == far.host.show("nginx", "InvocationID") != before
    assert (await far.backend.probe(task, baseline)).verdict == "took_effect"
    plain, full = [await far.run("service_status", port=port, service_name="nginx") for port in (PORT, 22)]
    assert {**plain.output, "active_since": None} == {**full.output, "active_since": None}
    assert plain.state == full.state


async def test_a_service_is_stopped_and_started_and_what_is_not_there_is_not_found(far: Far) -> None:
    for verb, state in (("stop", "inactive"), ("start", "active")):
        done = await far.run(f"service_{verb}", service_name="nginx")
        assert (done.outcome, far.host.show("nginx", "ActiveState")) == ("succeeded", state)
    missing = await far.run("service_start", service_name="no-such")
    assert (missing.outcome, missing.code, missing.effect) == ("failed", "unit_not_found", "none")


async def test_packages_and_listings_are_those_that_hostops_has(far: Far) -> None:
    plain, full = [await far.run("package_list", port=port) for port in (PORT, 22)]
    assert len(plain.output["packages"]) > 50
    assert plain.output == full.output
    for source in ("list_services", "list_packages"):
        names = [await far.backend.listing(far.task("package_list", port=port).target, source) for port in (PORT, 22)]
        assert names[0] == names[1] != []


async def test_operation_that_needs_python_is_refused(far: Far) -> None:
    with pytest.raises(WritError) as refused:
        await far.run("file_write", file_path="/srv/plain/a", content="x")
    assert refused.value.code == "no_python"
    assert far.host.run("ls", "/srv/plain") == ""


async def test_a_job_that_takes_too_long_is_taken_back(far: Far) -> None:
    far.host.write("/run/systemd/system/hanging.service", HANGING)
    far.host.run("systemctl", "daemon-reload")
    task = replace(far.task("service_start", service_name="hanging"), timeout=2.0)
    await far.run("service_status", service_name="nginx")
    done = await asyncio.wait_for(
        RunningOperation(far.backend, task, ProgressRecorder(), 20.0).wait(), 40
    )  # its start takes a minute
    assert done.code == "timeout"
    assert far.host.show("hanging", "Job") in ("", "0")
    far.host.attempt("systemctl", "kill", "--signal=KILL", "hanging")
    far.host.run("systemctl", "stop", "hanging")
    far.host.attempt("systemctl", "reset-failed", "hanging")


async def test_nothing_secret_is_in_what_the_host_logs_or_keeps(far: Far) -> None:
    path = "/srv/plain/secret"
    for content in (CANARY, CANARY * 5000):
        wrote = await far.run("file_write", port=22, file_path=path, content=content)
        read = await far.run("file_read", port=22, file_path=path)
        assert (wrote.outcome, read.output["content"]) == ("succeeded", content)
    away = await far.run("file_write", port=22, file_path="/etc/motd", content=CANARY)
    assert (away.outcome, away.code) == ("failed", "outside_roots")
    assert (await far.run("file_delete", port=22, file_path=path)).outcome == "succeeded"
    assert CANARY not in far.host.run("journalctl", "--no-pager", timeout=60.0)
    found = far.host.attempt("grep", "-rlF", CANARY, "/var/log", "/var/lib", "/etc", "/root", "/tmp", "/srv", "/run")
    assert found[:2] == (1, "")
