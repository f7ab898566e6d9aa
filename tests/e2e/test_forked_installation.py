"""Installations that tests fork from a process with loaded modules run, restart and end as new processes do."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from writ_installation.processes.report import read_report
from writ_testing.eventually import eventually
from writ_testing.installations import command_template
from writ_testing.installations.commands import run_command, start_command
from writ_testing.installations.detached import down_if_killed
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation
from writ_testing.peers.sshd import descendants
from writ_testing.search import alive, cmdline

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    async with running_installation(tmp_path_factory.mktemp("forked")) as running:
        yield running


def is_forked(pid: int) -> bool:
    return command_template.__name__.encode() in cmdline(pid)


async def until_ended(pids: list[int]) -> None:
    async def ended() -> bool:
        return not any(map(alive, pids))

    await eventually(ended, what=f"the end of {pids}")


async def test_forked_services_carry_out_operations_in_sessions_of_their_own(installation: RunningInstallation) -> None:
    services = [one.pid or 0 for one in installation.report.processes if one.name != "nats"]
    assert len(services) == 4
    assert all(map(is_forked, services))
    assert [os.getsid(pid) for pid in services] == services
    assert "Warning" not in installation.logs()
    async with await installation.client() as writ:
        assert (await writ.run("test_noop", "web-1", timeout=30)).outcome == "succeeded"


async def test_killed_forked_service_is_reported_and_started_again(installation: RunningInstallation) -> None:
    killed = installation.kill("policy")
    assert is_forked(await installation.until("policy", other_than=killed))
    (policy,) = [one for one in installation.report.processes if one.name == "policy"]
    assert (policy.restarts, policy.restarted_for) == (1, "was ended by SIGKILL")


async def test_forked_service_kills_itself_at_the_step_that_its_environment_names(tmp_path: Path) -> None:
    died = tmp_path / "died"
    environ = {"WRIT_FAULT": "policy.granted", "WRIT_FAULT_ONCE": str(died)}
    async with running_installation(tmp_path, environ=environ) as installation:
        policy = installation.pid("policy") or 0
        assert is_forked(policy)
        async with await installation.client() as writ:
            assert (await writ.run("test_noop", "web-1", timeout=30)).outcome == "succeeded"
        assert died.exists()
        assert is_forked(await installation.until("policy", other_than=policy))


async def test_forked_services_end_with_their_killed_supervisor(tmp_path: Path) -> None:
    async with running_installation(tmp_path) as installation:
        running = descendants(installation.report.pid)
        assert len(running) > len(installation.report.processes)  # the template of the services is another one
        os.kill(installation.report.pid, signal.SIGKILL)
        await until_ended(running)


async def test_stopped_forked_installation_leaves_no_process(tmp_path: Path) -> None:
    async with running_installation(tmp_path) as installation:
        running = descendants(installation.report.pid)
    await until_ended(running)


async def test_forked_detached_start_outlives_its_command_in_a_session_of_its_own(tmp_path: Path) -> None:
    home = prepare(tmp_path)
    environ = {**os.environ, "WRIT_HOME": str(home.root)}
    with down_if_killed(home.root):
        up = await run_command(["up", "--detach", "--nats-port", "0"], environ)
        assert (up.status, up.err) == (0, ""), up
        report = read_report(home.report_file)
        assert report is not None
        running = descendants(report.pid)
        assert all(map(is_forked, (report.pid, *(one.pid or 0 for one in report.processes if one.name != "nats"))))
        assert os.getsid(report.pid) == report.pid
        assert "Warning" not in (home.log / "up.log").read_text()
        down = await run_command(["down"], environ)
    assert (down.status, down.err) == (0, ""), down
    await until_ended([report.pid, *running])


async def test_command_with_other_variables_of_its_start_is_not_forked(tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as output:
        assert await start_command(["version"], {**os.environ, "PYTHONPATH": str(tmp_path)}, output) is None
        process = await start_command(["version"], os.environ, output)
        assert process is not None
        assert await process.wait() == 0
    assert (tmp_path / "output").read_text().startswith("writ ")
