"""The local backend on this host: files as effects, processes for slow operations."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.hostops.apt_root import AptRoot, host_cases
from tests.hostops.old_python import carried, old_python

from writ_agent.backends.hostops_requests import redact
from writ_agent.backends.port import Task, TaskResult
from writ_agent.backends.processes import living
from writ_agent.backends.routed_backend import RoutedBackend
from writ_agent.service import handlers_for
from writ_agent_local.backend import LocalBackend
from writ_agent_local.child import HostChild
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_runtime.plugins.entry_points import load_catalogue, load_handlers
from writ_testing.eventually import eventually
from writ_testing.search import alive, cmdline
from writ_testing.suites.backend import BackendSuite, ProgressRecorder, task
from writ_testing.suites.host_cases import ON_A_REAL_HOST, HostCase, HostCases, listener, repository

CATALOGUE = load_catalogue()


class LocalHost:
    """This host, with a folder of its own."""

    def __init__(self, folder: Path, python: str = sys.executable, path: str = "") -> None:
        self.python, self.path = python, path
        self.root = folder / "root"
        self.root.mkdir()
        self.target = Target(id="here", role="testing", backend="local", file_roots=[str(self.root)])
        local = LocalBackend([folder / "home"], folder / "markers")
        self.backend = RoutedBackend(local, handlers_for("local", CATALOGUE, load_handlers()))

    def change(self, operation_id: str) -> Task:
        return task(
            CATALOGUE["file_write"], self.target, operation_id, file_path=f"{self.root}/{operation_id}", content="new\n"
        )

    def slow(self, operation_id: str) -> Task:
        return task(CATALOGUE["test_sleep"], self.target, operation_id, stubborn=True)

    def refused(self, operation_id: str) -> Task:
        return task(CATALOGUE["file_write"], self.target, operation_id, file_path="/etc/passwd", content="x")

    async def changed(self, operation_id: str) -> bool:
        path = self.root / operation_id
        return path.exists() and path.read_text() == "new\n"

    def host_cases(self) -> Iterator[HostCase]:
        vault = repository(self.root.parent / "vault")
        target = Target(
            id="here",
            role="testing",
            backend="local",
            file_roots=[str(self.root)],
            backup=vault,
            scan_networks=["127.0.0.0/8"],
        )
        made = HostCases(CATALOGUE, target, self.root)
        with listener() as port:
            yield from made.files()
            yield from made.network(port)
            yield from made.backups()
            yield from self.packages(made, AptRoot(self.root.parent / "apt"))

    @property
    def elsewhere(self) -> set[str]:
        return {*ON_A_REAL_HOST, *(name for name in self.backend.operations if name.startswith("test_"))}

    async def busy(self, operation_id: str) -> bool:
        return bool(living(operation_id))

    def packages(self, made: HostCases, apt: AptRoot) -> Iterator[HostCase]:
        """Yield cases for real apt-get and dpkg in a separate root, through the real child process."""
        with self.child([apt.options(), apt.admin()]):
            yield from host_cases(made, apt)

    @contextmanager
    def child(self, options: Sequence[Sequence[str]] = ((), ())) -> Iterator[None]:
        """hostops is as a child has it, but for its Python and the root of the packages."""
        command = (self.python, "-I", "-c", CHILD, self.path, json.dumps(options))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("writ_agent_local.child._COMMAND", command)
            yield


CHILD = """
import json, sys
sys.dont_write_bytecode = True
sys.path[:0] = filter(None, [sys.argv[1]])
from writ_hostops.packages import apt, dpkg
from writ_hostops.__main__ import main
apt.OPTIONS, dpkg.OPTIONS = json.loads(sys.argv[2])
main()
"""


class TestLocalBackend(BackendSuite):
    @pytest.fixture
    def host(self, tmp_path: Path) -> LocalHost:
        return LocalHost(tmp_path)


@pytest.mark.exhaustive
class TestLocalBackendWithAnOldPython(BackendSuite):
    """The suite under the oldest Python that hosts may have."""

    @pytest.fixture
    def host(self, tmp_path: Path) -> Iterator[LocalHost]:
        host = LocalHost(tmp_path, old_python(), str(carried(tmp_path / "carried")))
        with host.child():
            yield host


ID = encode_id(os.urandom(16))


async def run(host: LocalHost, name: str, **parameters: object) -> TaskResult:
    return await host.backend.run(task(CATALOGUE[name], host.target, ID, **parameters), ProgressRecorder())


async def test_a_secret_content_reaches_the_file_and_no_argument_or_environment(tmp_path: Path) -> None:
    host = LocalHost(tmp_path)
    content = "$(touch /tmp/pwned); `id`\n' \"\x00" * 3
    done = await run(host, "file_write", file_path=f"{host.root}/x", content=content)
    assert done.outcome == "succeeded"
    assert (host.root / "x").read_bytes() == content.encode()


async def test_files_of_writ_are_out_of_bounds(tmp_path: Path) -> None:
    host = LocalHost(tmp_path)
    host.target = Target(id="here", role="testing", backend="local", file_roots=[str(tmp_path)])
    (tmp_path / "home").mkdir()
    done = await run(host, "file_write", file_path=f"{tmp_path}/home/policy.seed", content="x")
    assert (done.outcome, done.code, done.effect) == ("failed", "outside_roots", "none")


async def test_a_hostops_that_dies_leaves_a_change_unknown_and_a_read_cancelled(tmp_path: Path) -> None:
    host = LocalHost(tmp_path)
    local = LocalBackend([], tmp_path / "markers")
    killed = HostChild.run_request

    async def kill_first(self: HostChild, *arguments: object) -> dict[str, object] | None:
        self._process.kill()
        return await killed(self, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(HostChild, "run_request", kill_first)
        change = await local.run(host.change(ID), ProgressRecorder())
        reading = await local.run(
            task(CATALOGUE["file_read"], host.target, ID, file_path=f"{host.root}/x"), ProgressRecorder()
        )
    assert (change.outcome, change.effect, change.over) == ("unknown", "maybe", True)
    assert (reading.outcome, reading.effect) == ("cancelled", "none")


async def test_processes_of_a_killed_hostops_are_ended(tmp_path: Path) -> None:
    host, apt, flag = LocalHost(tmp_path), AptRoot(tmp_path / "apt"), tmp_path / "running"
    apt.publish("slow", "1", postinst=f"echo $$ >{flag}; exec sleep 600")
    apt.update()
    with host.child([apt.options(), apt.admin()]):
        installing = asyncio.create_task(run(host, "package_install", package_name="slow"))
        await eventually(lambda: asyncio.to_thread(lambda: flag.exists() and flag.read_text().endswith("\n")))
        (hostops,) = [pid for pid in living(ID) if b"writ_hostops" in cmdline(pid)]
        os.kill(hostops, signal.SIGKILL)
        done = await asyncio.wait_for(installing, 20.0)
    assert (done.outcome, done.code, done.effect, done.over) == ("unknown", "ended", "maybe", True)
    assert living(ID) == []


async def test_an_operation_that_was_done_here_before_is_not_done_again(tmp_path: Path) -> None:
    host = LocalHost(tmp_path)
    await host.backend.run(host.change(ID), ProgressRecorder())
    (host.root / ID).write_text("changed since\n")
    again = await host.backend.run(host.change(ID), ProgressRecorder())
    assert again.code == "already_seen"
    assert (host.root / ID).read_text() == "changed since\n"


def test_secrets_are_cut_out_of_what_is_logged() -> None:
    assert redact("a hunter2 and hunter22", ["hunter2", "hunter22", ""]) == "a <secret> and <secret>"


async def test_a_check_that_takes_longer_than_its_callers_wait_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow host Python takes seconds to start: a trial that began anew for each caller never came to its end."""
    backend, started, go, start = LocalHost(tmp_path).backend, list[str](), asyncio.Event(), HostChild.start

    async def slowly(operation_id: str) -> HostChild:
        started.append(operation_id)
        await go.wait()
        return await start(operation_id)

    monkeypatch.setattr(HostChild, "start", slowly)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(backend.check(), 0.05)
    go.set()
    assert await backend.check() is None
    assert await backend.check() is None
    assert len(started) == 1


async def test_a_check_whose_process_does_not_answer_ends_it_and_not_that_of_another_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, started, start = LocalHost(tmp_path).backend, list[HostChild](), HostChild.start
    another = LocalBackend([], tmp_path / "another")

    async def silent(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def noted(operation_id: str) -> HostChild:
        started.append(await start(operation_id))
        return started[-1]

    async def is_checking() -> bool:
        return len(started) == 1

    with monkeypatch.context() as patched:
        patched.setattr(HostChild, "start", noted)
        patched.setattr(HostChild, "run_request", silent)
        pending = asyncio.create_task(another.check())
        await eventually(is_checking)
        patched.setattr("writ_agent_local.backend.TRIAL_SECONDS", 0.05)
        assert await backend.check() == "hostops does not answer"
    anothers, own = started
    assert await asyncio.wait_for(own._process.wait(), 60) != 0
    assert alive(anothers._process.pid)
    assert await backend.check() is None
    await anothers.stop(0.0)
    await anothers._process.communicate()  # its pipes are closed with it, in this event loop
    pending.cancel()
