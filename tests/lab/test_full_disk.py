"""The disk of the journal fills up and has room again: the error shows within seconds, and work resumes by itself."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import json

from writ_bus.errors import BusError
from writ_client.client import Writ
from writ_contracts.errors import Unreachable, WritError
from writ_contracts.history.audit import SearchQuery
from writ_installation.status.control import InstallationStatus, status
from writ_nats_server.streams import Sizes
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    open_policy,
    prepare,
    running_installation,
)

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]
MEGABYTE = 1 << 20
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
def filled(folder: Path) -> Iterator[None]:
    """Fill the folder's file system within the block."""
    filler = fill(folder)
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
        async with running_installation(tmp_path, home=home, environ={"WRIT_SWEEP": "0.2"}) as running:
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
            began = time.monotonic()
            try:
                await writ.submit("test_noop", "web-1")
            except WritError as error:
                return error, time.monotonic() - began


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
            assert took < 2.5
        began = time.monotonic()
        with pytest.raises(Unreachable) as unread:  # others' records, so the read would be recorded
            await writ.search(SearchQuery(principal="alice"))
        assert (unread.value.code, time.monotonic() - began < 2.5) == ("not_stored", True)

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


async def test_full_disk_of_the_whole_installation_is_named_although_no_report_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    with tmpfs(folder, 2 * DISK // MEGABYTE):
        home = prepare(folder)
        (home.nats / "sizes.json").write_bytes(json.encode(SIZES))
        async with running_installation(folder, home=home) as running:
            before = home.report_file.read_bytes()
            filler = fill(folder)

            async def named() -> bool:
                now = await current_status(running)
                return any("is full" in one.failing.get("disk", "") for one in now.processes if one.name == "nats")

            await eventually(named, within=5.0)
            assert home.report_file.read_bytes() == before
            filler.unlink()
