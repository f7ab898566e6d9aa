"""Yesterday's agent with today's services, and today's agent with yesterday's services: real processes of two versions.

Yesterday's are those of a commit in this repository's history. In a shallow clone without it these tests are skipped,
and tests/contracts/test_versions.py alone checks that both read each other's messages.
"""

import asyncio
import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from writ_client.client import Writ
from writ_documents import yaml_file
from writ_installation.files.home import host_token
from writ_installation.processes import services
from writ_installation.processes.child import tie
from writ_testing.eventually import eventually
from writ_testing.installations.count_load import load
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation

pytestmark = pytest.mark.timeout(240)
ROOT = Path(__file__).parents[2]
YESTERDAY = "2effcd47cd371bfde970d5c47f57dfe8372517ad"
"""There is no release yet: a state that reads the messages which the first one writes (ADR 149)."""
POLICY = yaml_file.dump(
    {
        "policies": {
            "version": "v2",
            "name": "of both versions",
            "require_approval_for_admin": False,
            "global_policies": [
                {"name": "tests_may", "operations": ["test_count", "file_write", "file_read"], "allowed": True}
            ],
        }
    }
)
"""Without operations that yesterday's services do not know."""
POOL = f"local-{host_token()}"
ENVIRON = {"WRIT_HEARTBEAT": "0.5", "WRIT_LEASE": "3"}


@pytest.fixture(scope="module")
def python_of_yesterday(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter whose Writ is yesterday's, with the third parties of today."""
    if subprocess.run(["git", "cat-file", "-e", YESTERDAY], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip(f"{YESTERDAY[:12]} is not in this clone's history")
    folder = tmp_path_factory.mktemp("yesterday")
    (folder / "tree").mkdir()
    archive = subprocess.run(
        ["git", "archive", YESTERDAY, "libs", "services"], cwd=ROOT, capture_output=True, check=True, timeout=60
    )
    subprocess.run(["tar", "-x", "-C", str(folder / "tree")], input=archive.stdout, check=True, timeout=60)
    venv.create(folder / "venv", symlinks=True)
    ours = sorted(str(path.parent) for path in (folder / "tree").glob("*/*/writ_*"))
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "yesterday.pth").write_text("\n".join([*ours, sysconfig.get_path("purelib")]))
    python = folder / "venv" / "bin" / "python"
    for module in ("writ_contracts", "writ_agent_local", "writ_executor"):
        where = f"import {module}; print({module}.__file__)"
        result = subprocess.run([python, "-P", "-c", where], capture_output=True, text=True, check=True, timeout=60)
        assert result.stdout.startswith(str(folder)), result.stdout
    return python


def accepting(python: Path | str) -> dict[str, str]:
    """Return policy's environment for accepting that interpreter's build of the test operations."""
    command = [python, "-P", "-m", "writ_cli", "plugin", "list", "-o", "json"]
    rows = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    return {**ENVIRON, "WRIT_PLUGIN_DIGESTS": ",".join(f"{row['name']}={row['digest']}" for row in rows)}


@asynccontextmanager
async def agent(installation: RunningInstallation, python: Path) -> AsyncIterator[None]:
    """Run an agent of the pool by that interpreter within the block."""
    [service] = services.agents(services.ProcessTable(), installation.home, installation.url, {POOL: "local"}, {})
    with (installation.home.log / "agent.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(*tie(), str(python), *service.argv[1:]),
            env={**services.passed_on(os.environ), **service.env, **ENVIRON},
            stdout=output,
            stderr=output,
        )
    try:
        async with await installation.client() as writ:
            await eventually(lambda: _heard(writ), within=60, what="the agent is heard")
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def _heard(writ: Writ) -> bool:
    return any(target.agents for target in await writ.targets() if target.pool == POOL)


async def work(installation: RunningInstallation, files: Path) -> None:
    """Run operations that read, change, and list facts for a rule, then continue under load."""
    async with await installation.client() as writ:
        async with load(writ, ["web-1"], files / "counted", delay=0.02) as ran:
            await ran.more(5)
        await ran.check(writ)
        path = files / "written"
        done = await writ.run("file_write", "web-1", {"file_path": str(path), "content": "x"}, timeout=60)
        assert (done.outcome, path.read_text()) == ("succeeded", "x")
        previewed = await writ.simulate("file_write", "web-1", {"file_path": str(path), "content": "y"})
        assert previewed.error is None
        read = await writ.run("file_read", "web-1", {"file_path": str(path)}, timeout=60)
        assert read.outcome == "succeeded"


@pytest.mark.exhaustive
async def test_yesterdays_agent_works_with_todays_services(tmp_path: Path, python_of_yesterday: Path) -> None:
    home = prepare(tmp_path)
    async with (
        running_installation(
            tmp_path, home=home, environ=accepting(python_of_yesterday), arguments=["--no-agent", POOL]
        ) as installation,
        agent(installation, python_of_yesterday),
    ):
        await work(installation, tmp_path / "files")


async def test_todays_agent_works_with_yesterdays_services(
    tmp_path: Path, python_of_yesterday: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = prepare(tmp_path, policy=POLICY)
    writ = tmp_path / "bin" / "writ"
    writ.parent.mkdir()
    writ.write_text(f'#!/bin/sh\nexec {python_of_yesterday} -P -m writ_cli "$@"\n')
    writ.chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    async with (
        running_installation(
            tmp_path, home=home, environ=accepting(sys.executable), arguments=["--no-agent", POOL], command=writ
        ) as installation,
        agent(installation, Path(sys.executable)),
    ):
        await work(installation, tmp_path / "files")
