"""Cancelled copies of large files end within bounds and leave the former state."""

import asyncio
import os
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.agent_ssh.conftest import ID, SshHost, litter
from tests.agent_ssh.test_breaks import begun, kill_sessions
from tests.agent_ssh.test_troubles import GRACE

from writ_agent.backends.port import Task
from writ_agent.work.running import RunningOperation
from writ_testing.eventually import eventually
from writ_testing.stopwatch import stopwatch
from writ_testing.suites.backend import ProgressRecorder

SIZE, WRITTEN = 30 << 30, 32 << 20
"""Read and hashed to the end it would take longer than any test; nearly all of it is a hole, so it costs no room."""
BOUND = 10.0
"""Seconds for an end, of which a machine with a third of a core takes five. Hashed to the end, the file takes more."""


@pytest.fixture
def source(host: SshHost) -> Path:
    path = host.root / "source"
    with path.open("wb") as file:
        file.write(os.urandom(WRITTEN))
        file.truncate(SIZE)
    return path


def copying(host: SshHost, source: Path, *, overwrite: bool = False) -> Task:
    dest = str(host.root / "dest")
    return host.task("file_copy", source_path=str(source), dest_path=dest, overwrite=overwrite, timeout=600)


async def half_done(host: SshHost) -> bool:
    """Return true if a part of the copy exists, under another name."""
    return any(size(path) >= WRITTEN for path in host.root.glob(".writ-*.tmp"))


def size(path: Path) -> int:
    """Return its size, or 0 if it no longer exists."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


async def ended(host: SshHost) -> bool:
    return litter(host.root) == []


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("broken", [False, True])
async def test_a_copy_that_is_cancelled_leaves_what_was_there(
    host: SshHost, source: Path, there: bool, broken: bool
) -> None:
    dest = host.root / "dest"
    if there:
        dest.write_text("before")
    run = await begun(host, copying(host, source, overwrite=there))
    await eventually(lambda: half_done(host))
    if broken:
        kill_sessions(host)
    with stopwatch() as seconds:
        assert await host.backend.stop(ID, GRACE)
        done = await run
    assert seconds() < BOUND
    assert (done.outcome, done.code, done.effect, done.over) == ("cancelled", "cancelled", "none", True)
    assert dest.read_text() == "before" if there else not dest.exists()
    assert litter(host.root) == []


@pytest.mark.usefixtures("patient")
async def test_a_copy_whose_time_is_up_leaves_nothing(host: SshHost, source: Path) -> None:
    await host.pool.session(host.target)
    task = replace(copying(host, source), timeout=2.0)
    with stopwatch() as seconds:
        done = await RunningOperation(host.backend, task, ProgressRecorder(), GRACE).wait()
    assert seconds() < 2.0 + BOUND
    assert (done.outcome, done.code, done.effect, done.over) == ("failed", "timeout", "none", True)
    assert [path.name for path in host.root.iterdir()] == ["source"]


async def test_a_copy_whose_agent_goes_is_ended_by_the_host_when_its_time_is_up(host: SshHost, source: Path) -> None:
    run = await begun(host, replace(copying(host, source), timeout=10.0))
    await eventually(lambda: half_done(host))
    await host.pool.close()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await eventually(lambda: ended(host), within=40.0)
    assert [path.name for path in host.root.iterdir()] == ["source"]
