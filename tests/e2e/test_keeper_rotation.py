"""Once the provisioner's key was rotated, its endpoints serve with the new key, without a restart of `writ up`."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from msgspec import json

from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(240)]
POOL = "local-far"


async def enrolled(installation: RunningInstallation, folder: Path) -> str:
    """Enrol an agent by a new token; return the end of the error output if it fails."""
    made = await installation.writ("agent", "token", POOL, "-o", "json")
    assert made.status == 0, made
    folder.mkdir()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "writ_cli", "agent", "enrol", "--to", str(folder)),
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith(("WRIT_", "NATS_"))},
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(process.communicate(json.decode(made.out)["token"].encode()), 90)
    return "" if process.returncode == 0 else err.decode()[-500:]


async def test_agents_enrol_after_the_provisioners_key_was_rotated(tmp_path: Path) -> None:
    targets = [{**local_target("far-1", tmp_path / "files"), "connection": {"host": "far"}}]
    home = prepare(tmp_path, targets=targets, principals=[])
    async with running_installation(tmp_path, home=home) as installation:
        rotated = await installation.writ("keys", "rotate", "keeper")
        assert rotated.status == 0, rotated
        assert await enrolled(installation, tmp_path / "host") == ""
