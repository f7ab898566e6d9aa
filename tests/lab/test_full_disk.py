"""The disk of the journal fills up and has room again: the error shows within seconds, and work resumes by itself."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import json

from writ_bus.errors import BusError
from writ_client.client import Writ
from writ_contracts.errors import Unreachable, WritError
from writ_contracts.history.audit import SearchQuery
from writ_executor.journal.hidden_values import NOT_KEPT
from writ_installation.files.home import Home
from writ_installation.processes.child import tie
from writ_installation.status.control import InstallationStatus, status
from writ_nats_server.process import ServerProcess
from writ_nats_server.streams import Sizes
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    WRIT,
    RunningInstallation,
    open_policy,
    prepare,
    running_installation,
)
from writ_testing.peers.nats_server import free_port
from writ_testing.stopwatch import stopwatch

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]
MEGABYTE = 1 << 20
REPOSITORY = Path(__file__).parents[2]
SIZES = Sizes(
    journal=20 * MEGABYTE, params=16 * MEGABYTE, results=16 * MEGABYTE, policies=16 * MEGABYTE, scans=8 * MEGABYTE
)
DISK = 40 * MEGABYTE


def _run(*words: object) -> None:
    subprocess.run([*map(str, words)], check=True, timeout=60)


@contextmanager
def mounted(kind: str, folder: Path) -> Iterator[None]:
    """A file system of DISK bytes on the folder."""
    if kind == "tmpfs":
        with tmpfs(folder, DISK // MEGABYTE):
            yield
        return
    image = folder.parent / "disk.img"
    with image.open("wb") as file:
        file.truncate(DISK)
    _run("mkfs.ext4", "-q", image)
    _run("mount", "-o", "loop", image, folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@contextmanager
def tmpfs(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system in memory of this size on the folder."""
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}M,mode=700", "tmpfs", folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@contextmanager
def filled(folder: Path, left: int = 0) -> Iterator[None]:
    """Fill the folder's file system within the block, but for so many bytes."""
    filler = fill(folder)
    os.truncate(filler, filler.stat().st_size - left)
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture(params=["tmpfs", "ext4"])
async def installation(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningInstallation]:
    reads = {"name": "reads", "operations": ["audit_read"], "allowed": True}
    home = prepare(tmp_path, policy=open_policy(reads))
    with mounted(request.param, home.nats):
        (home.nats / "sizes.json").write_bytes(json.encode(SIZES))
        async with running_installation(tmp_path, home=home, environ={"WRIT_SWEEP": "0.2"}, command=WRIT) as running:
            yield running


def fill(folder: Path) -> Path:
    path = folder / "fill"
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return path


async def refusal(writ: Writ) -> tuple[WritError, float]:
    """The first error, and how long its request took."""
    async with asyncio.timeout(60):
        while True:
            with stopwatch() as seconds:
                try:
                    await writ.submit("test_noop", "web-1")
                except WritError as error:
                    return error, seconds()


async def current_status(installation: RunningInstallation) -> InstallationStatus:
    return await status(installation.home, {})


async def test_a_full_disk_is_reported_at_once_and_what_follows_is_done_by_itself(
    installation: RunningInstallation,
) -> None:
    assert "the streams may hold 76 MB" in installation.report.problem
    async with await installation.client() as writ:
        assert (await writ.run("test_noop", "web-1", timeout=20)).outcome == "succeeded"
        nats, filler = installation.pid("nats"), fill(installation.home.nats)
        for _ in range(2):
            error, took = await refusal(writ)
            assert (type(error), error.code) == (Unreachable, "not_stored"), error
            assert took < 2.0
        with stopwatch() as seconds, pytest.raises(Unreachable) as unread:  # of others, so the read would be recorded
            await writ.search(SearchQuery(principal="alice"))
        assert (unread.value.code, seconds() < 2.0) == ("not_stored", True)

        async def is_reported() -> bool:
            now = await current_status(installation)
            failing = {one.name: one.failing for one in now.processes}
            return not now.ready and "disk" in failing["nats"] and "journal" in failing["executor"]

        await eventually(is_reported, within=5.0)
        filler.unlink()
        await installation.until("nats", other_than=nats, within=20.0)

        async def well() -> bool:
            try:
                return (await writ.run("test_noop", "web-1", timeout=5)).outcome == "succeeded"
            except (BusError, WritError):
                return False

        await eventually(well, within=40.0)

        async def ready() -> bool:
            return (await current_status(installation)).ready

        await eventually(ready, within=20.0)
        [shown] = [one for one in (await current_status(installation)).processes if one.name == "nats"]
        assert "stored nothing after a write error" in shown.restarted_for


class OwnServer:
    """A NATS that `writ up` does not run, on a disk of its own."""

    def __init__(self, home: Home) -> None:
        self._home, self._config = home, home.root / "own-nats.conf"
        self._port, self._monitor = free_port(), free_port()
        self.url = f"nats://127.0.0.1:{self._port}"
        (home.nats / "sizes.json").write_bytes(json.encode(SIZES))
        words = (WRIT, "up", "--write-server-config", self._config, "--nats-port", str(self._port))
        environ = {**os.environ, "WRIT_HOME": str(home.root)}
        subprocess.run(words, env=environ, check=True, capture_output=True, timeout=60)
        self._config.write_text(self._config.read_text().replace("127.0.0.1:8222", f"127.0.0.1:{self._monitor}"))

    async def start(self) -> None:
        log = self._home.log / "own-nats.log"
        self._process = await ServerProcess.start(
            self._config, log, port=self._port, monitor_port=self._monitor, through=tie()
        )

    async def stop(self) -> None:
        await self._process.stop()


@pytest.fixture
async def on_own_server(tmp_path: Path) -> AsyncIterator[tuple[RunningInstallation, OwnServer]]:
    home = prepare(tmp_path)
    with tmpfs(home.nats, 3 * DISK // MEGABYTE):
        server = await asyncio.to_thread(OwnServer, home)
        await server.start()
        environ = {"WRIT_SWEEP": "0.2", "NATS_URL": server.url}
        try:
            async with running_installation(tmp_path, home=home, environ=environ, command=WRIT) as running:
                yield running, server
        finally:
            await server.stop()


async def failing(installation: RunningInstallation) -> str:
    """What `writ status`, which is not ready, says of the executor's storage."""
    now = await current_status(installation)
    [executor] = [one for one in now.processes if one.name == "executor"]
    assert not now.ready
    return executor.failing["journal"]


@pytest.mark.parametrize("stream", ["WRIT_PARAMS", "WRIT_RESULTS"])
async def test_one_stream_that_a_server_of_ones_own_no_longer_stores_is_named_until_the_server_restarts(
    on_own_server: tuple[RunningInstallation, OwnServer], stream: str
) -> None:
    installation, server = on_own_server
    path, large = installation.home.root.parent / "files" / "large", "x" * 900_000
    path.write_text(large)
    write, read = {"file_path": str(path), "content": large}, {"file_path": str(path)}
    async with await installation.client() as writ:
        assert (await writ.run("file_read", "web-1", read, timeout=20)).outcome == "succeeded"
        with filled(installation.home.nats, left=400 * 1024):
            with stopwatch() as seconds:
                if stream == "WRIT_PARAMS":
                    with pytest.raises(Unreachable, match=stream):
                        await writ.submit("file_write", "web-1", write)
                else:
                    ended = await writ.with_output(await writ.run("file_read", "web-1", read, timeout=20))
                    assert (ended.outcome, ended.output["note"]) == ("succeeded", NOT_KEPT)
            assert seconds() < 3.0
        assert stream in await failing(installation)  # though there is room again
        assert (await writ.run("test_noop", "web-1", timeout=20)).outcome == "succeeded"  # nothing is locked
        small = {**write, "content": "small"}
        needs_stream = ("file_write", small) if stream == "WRIT_PARAMS" else ("file_read", read)
        with stopwatch() as seconds, pytest.raises(Unreachable, match=stream) as refused:
            await writ.submit(needs_stream[0], "web-1", needs_stream[1])
        assert (refused.value.code, seconds() < 1.0) == ("not_stored", True)
        if stream == "WRIT_RESULTS":  # a change is not held up
            assert (await writ.run("file_write", "web-1", small, timeout=20)).outcome == "succeeded"
        assert stream in await failing(installation)
        await server.stop()
        await server.start()

        async def ready() -> bool:
            return (await current_status(installation)).ready

        await eventually(ready, within=30.0)
        assert (await writ.run("file_write", "web-1", write, timeout=20)).outcome == "succeeded"


async def test_full_disk_of_the_whole_installation_is_named_although_no_report_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    with tmpfs(folder, 2 * DISK // MEGABYTE):
        home = prepare(folder)
        (home.nats / "sizes.json").write_bytes(json.encode(SIZES))
        async with running_installation(folder, home=home, command=WRIT) as running:
            before = home.report_file.read_bytes()
            filler = fill(folder)

            async def named() -> bool:
                now = await current_status(running)
                return any("is full" in one.failing.get("disk", "") for one in now.processes if one.name == "nats")

            await eventually(named, within=5.0)
            assert home.report_file.read_bytes() == before
            filler.unlink()


async def test_an_installation_that_cannot_start_on_a_full_disk_names_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    with tmpfs(folder, DISK // MEGABYTE):
        home = prepare(folder)
        (home.nats / "sizes.json").write_bytes(json.encode(SIZES))
        with filled(folder):
            words = (sys.executable, "-m", "writ_cli", "up", "--detach", "--nats-port", "0")
            environ = {**os.environ, "WRIT_HOME": str(home.root)}
            up = await asyncio.to_thread(
                subprocess.run, words, env=environ, capture_output=True, text=True, timeout=60, check=False
            )
        assert up.returncode == 1, up
        assert f"since the disk of {home.log} is full: 0 bytes are free" in up.stderr


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copy our packages, without bytecode, to a disk of their own."""
    packages = tmp_path_factory.mktemp("packages")
    with tmpfs(packages, DISK // MEGABYTE):
        for package in [*REPOSITORY.glob("libs/*/writ_*"), *REPOSITORY.glob("services/*/writ_*")]:
            to = packages / package.parent.name / package.name
            shutil.copytree(package, to, ignore=shutil.ignore_patterns("__pycache__"))
        yield packages


def installed_in(packages: Path) -> dict[str, str]:
    path = os.pathsep.join([*map(str, packages.iterdir()), os.environ["PYTHONPATH"]])
    return {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": ""}


def bytecode(packages: Path) -> list[Path]:
    return [*packages.rglob("*.pyc*")]


async def test_the_command_runs_after_a_run_while_the_disk_of_its_packages_was_full(packages: Path) -> None:
    """Python 3.11 leaves bytecode that is cut off, if a file needs more pages than there are."""
    environ = {**os.environ, **installed_in(packages)}
    words = (sys.executable, "-m", "writ_cli", "--version")
    for pages in range(6, 16):
        with filled(packages, pages * 4096):
            subprocess.run(words, env=environ, capture_output=True, timeout=60, check=True)
        subprocess.run(words, env=environ, capture_output=True, timeout=60, check=True)
        for path in bytecode(packages):
            path.unlink()


async def test_services_keep_no_bytecode_while_the_disk_of_their_packages_is_full(
    packages: Path, tmp_path: Path
) -> None:
    home, environ = prepare(tmp_path), installed_in(packages)
    with filled(packages, MEGABYTE):
        async with running_installation(tmp_path, home=home, environ=environ, command=WRIT):
            assert len(bytecode(packages)) <= 4  # of the command, before it looks at the disk
    async with running_installation(tmp_path, home=home, environ=environ, command=WRIT):
        assert len(bytecode(packages)) > 100
