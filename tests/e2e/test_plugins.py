"""A backend that a plugin brings: its own pool, its own agent process, the same way through the installation."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation

TARGETS = [local_target("web-1", Path("/nowhere")), {"id": "thing-1", "role": "testing", "backend": "fake"}]


def environ(installation: RunningInstallation, folder: Path, backend: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ["PYTHONPATH"],
        "NATS_URL": installation.url,
        "WRIT_KEY_FILE": str(installation.home.seed_file("agent-fake")),
        "WRIT_POLICY_KEY": installation.home.key("policy").public,
        "WRIT_POOL": "fake",
        "WRIT_INSTALLATION": installation.home.installation,
        "WRIT_STATE_DIR": str(folder),
        "WRIT_BACKEND": backend,
        "WRIT_HEARTBEAT": "0.3",
    }


@pytest.mark.timeout(120)
async def test_an_agent_with_a_plugins_backend_carries_out_its_operations(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    home = prepare(tmp_path, targets=TARGETS)
    async with running_installation(tmp_path, home=home) as installation, await installation.client() as writ:
        command = (sys.executable, "-P", "-m", "writ_agent")
        wrong = await asyncio.create_subprocess_exec(
            *command, env=environ(installation, state, "nope"), stderr=asyncio.subprocess.PIPE
        )
        _, said = await asyncio.wait_for(wrong.communicate(), 30)
        assert wrong.returncode == 2
        assert "fake" in said.decode()
        agent = await asyncio.create_subprocess_exec(*command, env=environ(installation, state, "fake"))
        try:
            done = await writ.run("test_noop", "thing-1", timeout=30)
            assert done.outcome == "succeeded"

            async def announced() -> bool:
                thing = next(one for one in await writ.targets() if one.id == "thing-1")
                return thing.operations == ["test_count", "test_fail", "test_noop", "test_secret", "test_sleep"]

            await eventually(announced, what="the operations of the pool")
            lacking = await writ.submit("service_status", "thing-1", {"service_name": "nginx"})
            assert lacking.error
            assert lacking.error.code == "unsupported"
        finally:
            agent.terminate()
            await agent.wait()
