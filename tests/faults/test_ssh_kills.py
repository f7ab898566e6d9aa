"""kill -9 of the SSH agent at each step, in an installation that starts it again.

Each case has the right outcome; operations that are not idempotent have at most one effect, and idempotent ones are
completed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.faults.test_kills import AT_AGENT, ENVIRON, check
from tests.faults.test_retries import died, dying, ended, kinds

from writ_testing.exhaustive import some
from writ_testing.installations.installation import RunningInstallation, open_policy, running_installation
from writ_testing.peers.sshd import sshd

pytestmark = pytest.mark.timeout(240)
STEPS = (*AT_AGENT, "ssh.connected", "ssh.asked")


@asynccontextmanager
async def ssh_installation(folder: Path, fault: str) -> AsyncIterator[RunningInstallation]:
    """Yield an installation with `web-1` over SSH; its agent dies at that step, once."""
    async with sshd(folder / "host") as server:
        server.authorize("web-1")
        root = folder / "files"
        target = {
            "id": "web-1",
            "role": "development",
            "backend": "ssh",
            "connection": server.connection(),
            "file_roots": [{"path": str(root), "allow_system_root": True}],
        }
        own = {"WRIT_SSH_KEYS": str(server.keys), "WRIT_SSH_KNOWN_HOSTS": str(server.known_hosts)}
        environ = {**ENVIRON, **dying(folder, fault), **own}
        async with running_installation(
            folder, targets=[target], policy=open_policy(), environ=environ
        ) as installation:
            yield installation


@pytest.mark.parametrize("fault", some(STEPS, "ssh.asked"))
async def test_an_ssh_agent_killed_at_any_step_leaves_one_outcome_and_at_most_one_effect(
    tmp_path: Path, fault: str
) -> None:
    async with ssh_installation(tmp_path, fault) as installation:
        await check(installation, tmp_path / "files" / "counted", f"key-{fault}")
        await died(tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", STEPS)
async def test_idempotent_operation_still_succeeds(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "files" / "written"
    async with ssh_installation(tmp_path, fault) as installation, await installation.client() as writ:
        wish: dict[str, object] = {"file_path": str(path), "content": "once\n", "timeout": 4}
        done = await ended(writ, "file_write", "web-1", wish, "write")
        events = await kinds(writ, done.operation_id)
        await died(tmp_path)
    if fault == "agent.claimed":  # it knows that nothing was run, and says so
        assert (done.outcome, done.code, path.exists()) == ("failed", "agent_restarted", False), events
    elif done.outcome == "unknown":  # it was still running when it was asked for, and its probe came later
        assert fault == "ssh.asked", events
    else:
        assert (done.outcome, path.read_text()) == ("succeeded", "once\n"), events
    assert events.count("finished") + events.count("unknown") == 1, events
