"""A backend by a plugin: its own pool and agent process, and the usual way through the installation."""

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import distribution
from pathlib import Path

import pytest

from writ_client.client import Writ
from writ_contracts.requests import TargetView
from writ_installation.processes.child import tie
from writ_runtime.plugins.digests import distribution_digest
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation

TARGETS = [local_target("web-1", Path("/nowhere")), {"id": "thing-1", "role": "testing", "backend": "fake"}]
PLUGIN = "writ-example-plugin"
OPERATIONS = ["test_count", "test_fail", "test_noop", "test_secret", "test_sleep"]
MODULES = [one.module for one in distribution(PLUGIN).entry_points]


def another_build(folder: Path, version: str) -> tuple[str, str]:
    """Return a path with another version of the example plugin, and its digest."""
    here = Path(str(distribution(PLUGIN).locate_file(".")))
    shutil.copytree(here, folder)
    [metadata] = folder.glob("*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace("Version: 0.1.0", f"Version: {version}"))
    path = os.environ["PYTHONPATH"].replace(str(here.resolve()), str(folder))
    [found] = distribution(PLUGIN).discover(name=PLUGIN, path=[str(folder)])
    return path, distribution_digest(found, MODULES)


def environ(installation: RunningInstallation, state: Path, **more: str) -> dict[str, str]:
    state.mkdir(mode=0o700, exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ["PYTHONPATH"],
        "NATS_URL": installation.url,
        "WRIT_KEY_FILE": str(installation.home.seed_file("agent-fake")),
        "WRIT_POLICY_KEY": installation.home.key("policy").public,
        "WRIT_POOL": "fake",
        "WRIT_INSTALLATION": installation.home.installation,
        "WRIT_STATE_DIR": str(state),
        "WRIT_BACKEND": "fake",
        "WRIT_HEARTBEAT": "0.3",
        **more,
    }


async def start(env: dict[str, str], stderr: int | None = None) -> Process:
    return await asyncio.create_subprocess_exec(
        *(*tie(), sys.executable, "-P", "-m", "writ_agent"), env=env, stderr=stderr
    )


async def view(writ: Writ) -> TargetView:
    return next(one for one in await writ.targets() if one.id == "thing-1")


@asynccontextmanager
async def agent(writ: Writ, env: dict[str, str]) -> AsyncIterator[None]:
    """The only agent of the pool, known to the executor."""

    async def known() -> bool:
        return (await view(writ)).agents == 1

    async def gone() -> bool:
        return (await view(writ)).agents == 0

    process = await start(env)
    try:
        await eventually(known, what="the agent of the pool")
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)
    await eventually(gone, what="the agent's leave")


@pytest.mark.timeout(120)
async def test_an_agent_with_a_plugins_backend_carries_out_its_operations(tmp_path: Path) -> None:
    home = prepare(tmp_path, targets=TARGETS)
    next_path, next_digest = another_build(tmp_path / "next", "0.2.0")
    other_path, other_digest = another_build(tmp_path / "other", "0.3.0")
    listed = {"WRIT_PLUGIN_DIGESTS": f"{PLUGIN}={next_digest}"}
    async with (
        running_installation(tmp_path, home=home, environ=listed) as installation,
        await installation.client() as writ,
    ):
        state = tmp_path / "state"
        wrong = await start(environ(installation, state, WRIT_BACKEND="nope"), stderr=PIPE)
        _, stderr = await asyncio.wait_for(wrong.communicate(), 30)
        assert wrong.returncode == 2
        assert "fake" in stderr.decode()
        async with agent(writ, environ(installation, state)):
            done = await writ.run("test_noop", "thing-1", timeout=30)
            assert done.outcome == "succeeded"
            assert (await view(writ)).operations == OPERATIONS
            lacking = await writ.submit("service_status", "thing-1", {"service_name": "nginx"})
            assert lacking.error
            assert lacking.error.code == "unsupported"
        async with agent(writ, environ(installation, state, PYTHONPATH=next_path)):
            assert (await writ.run("test_noop", "thing-1", timeout=30)).outcome == "succeeded"
        async with agent(writ, environ(installation, state, PYTHONPATH=other_path)):
            refused = await writ.run("test_noop", "thing-1", timeout=30)
            assert (refused.outcome, refused.code) == ("denied", "plugin_mismatch")
            assert f"plugin {PLUGIN}: the agent has digest {other_digest}, policy accepts" in refused.message
