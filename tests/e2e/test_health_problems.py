"""Each health check, broken in a running installation, is named in `/readyz`, in `writ status` and in a metric."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from urllib.error import HTTPError

import pytest
import pytest_asyncio
from msgspec import json
from tests.e2e.test_health import get

from writ_client.client import Writ
from writ_executor.success_rate import FEWEST, LEAST
from writ_installation.processes.readiness import read_run_file
from writ_installation.status import control, degradation
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, local_target, running_installation
from writ_testing.stopwatch import stopwatch

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
WITHIN = 40.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("installation")
    targets = [local_target("web-1", folder / "files"), local_target("db-1", folder / "files", agent="local-db")]
    environ = {"WRIT_HEARTBEAT": "0.3", "WRIT_LEASE": "1.5"}
    async with running_installation(folder, environ=environ, targets=targets) as running:
        yield running


class HealthCheck:
    """One check of one process, as reported in all three places."""

    def __init__(self, installation: RunningInstallation, process: str, check: str) -> None:
        self._installation, self._process, self._check = installation, process, check

    async def readyz(self) -> str:
        body = json.decode(await self._get("readyz"))
        return str(body["checks"][self._check])

    async def metric(self) -> float:
        rows = dict(
            line.rsplit(" ", 1) for line in (await self._get("metrics")).decode().splitlines() if line[0] != "#"
        )
        return float(rows[f'writ_check_ok{{check="{self._check}"}}'])

    async def status(self) -> str:
        """Return the lines of `writ status` for the process, with the mistakes of a file beneath them."""
        ended = await self._installation.writ("status", environ={"COLUMNS": "250"})
        parts = ended.out.replace("\n  ", "\t").splitlines()
        return "\n".join(part for part in parts if self._process in part)

    async def well(self) -> bool:
        return await self.readyz() == "ok" and await self.metric() == 1

    async def is_ill(self, *words: str) -> None:
        """Wait until all three places show the problem, with these words."""

        async def ill() -> bool:
            text = await self.readyz()
            return all(word in text for word in words)

        await eventually(ill, within=WITHIN, what=f"{self._check} with {words}")
        assert await self.metric() == 0
        shown = await self.status()
        assert f"{self._check}: " in shown
        assert all(word in shown for word in words), shown

    async def _get(self, path: str) -> bytes:
        found = read_run_file(
            self._installation.home.run / f"{self._process}.json", self._installation.pid(self._process)
        )
        assert found is not None
        try:
            return await asyncio.to_thread(get, found.health_port, path)
        except HTTPError as error:  # a check that is not ready is a status 503, whose body says why
            return error.read()


@asynccontextmanager
async def well_again(health_check: HealthCheck) -> AsyncIterator[None]:
    """Wait for health before the block, and again after the block has repaired its fault."""
    await eventually(health_check.well, within=WITHIN, what=f"{health_check._check} before")
    yield
    await eventually(health_check.well, within=WITHIN, what=f"{health_check._check} after")


async def test_readiness_names_the_mistake_in_a_policy_file(installation: RunningInstallation) -> None:
    health_check, policy = HealthCheck(installation, "policy", "policy"), installation.home.policy
    good = policy.read_text()
    async with well_again(health_check):
        policy.write_text(good.replace("deny_by_default", "deny_by_defualt"))
        await health_check.is_ill("deny_by_defualt")
        policy.write_text(good)


async def test_up_of_a_degraded_installation_shows_what_is_failing_with_the_exit_status_of_status(
    installation: RunningInstallation,
) -> None:
    health_check, policy = HealthCheck(installation, "policy", "policy"), installation.home.policy
    good = policy.read_text()
    async with well_again(health_check), well_again(HealthCheck(installation, "executor", "pools")):
        for words in (("up",), ("up", "--detach")):
            again = await installation.writ(*words)
            assert (again.status, again.err, "Writ is already up on" in again.out) == (0, "", True), again
        reported = await installation.json("up")
        assert (reported["url"], reported["degraded"]) == (installation.report.url, [])
        policy.write_text(good.replace("deny_by_default", "deny_by_defualt"))
        await health_check.is_ill("deny_by_defualt")
        with installation.paused("agent-local-db"):
            await HealthCheck(installation, "executor", "pools").is_ill("no agent of pool local-db")
            shown = (await installation.writ("status", environ={"COLUMNS": "250"})).out.splitlines()
            again = await installation.writ("up", environ={"COLUMNS": "250"})
            assert (again.status, ", but degraded, NATS at " in again.out) == (1, True), again
            failing = again.err.splitlines()
            assert any("deny_by_defualt" in line for line in failing)
            assert any(line.startswith("agent-local-db: no answer; if it stays so, `writ restart") for line in failing)
            assert set(failing) <= set(shown), (failing, shown)
            reported = await installation.json("up", status=1)
            assert reported["degraded"] == (await installation.json("status", status=1))["degraded"] != []
        policy.write_text(good)


async def test_invalid_inventory_is_reported_by_every_reader(installation: RunningInstallation) -> None:
    inventory = installation.home.inventory
    good = inventory.read_text()
    async with (
        well_again(HealthCheck(installation, "policy", "inventory")),
        well_again(HealthCheck(installation, "executor", "inventory")),
    ):
        inventory.write_text(good.replace("role:", "rolle:"))
        await HealthCheck(installation, "policy", "inventory").is_ill("rolle")
        await HealthCheck(installation, "executor", "inventory").is_ill("rolle")
        listed = await installation.writ("target", "list")
        assert (listed.status, listed.err.count("has mistakes, so its last good version is in force")) == (0, 1)
        inventory.write_text(good)


async def test_readiness_names_a_pool_whose_agent_is_stopped(installation: RunningInstallation) -> None:
    health_check = HealthCheck(installation, "executor", "pools")
    async with well_again(health_check):
        with installation.paused("agent-local-db"):
            await health_check.is_ill("no agent of pool local-db")


async def test_readiness_names_a_high_share_of_failed_operations(installation: RunningInstallation) -> None:
    """Later successes outweigh them: the installation is well again without a wait of five minutes."""
    health_check = HealthCheck(installation, "executor", "success")
    async with well_again(health_check), await installation.client() as writ:
        await _fail(writ)
        await health_check.is_ill(f"{FEWEST} of the")
        await _outweigh(writ)


async def _fail(writ: Writ) -> None:
    for _ in range(FEWEST):
        done = await writ.run("test_fail", "web-1")
        assert done.outcome == "failed"


async def _outweigh(writ: Writ) -> None:
    for _ in range(round(FEWEST * LEAST / (1 - LEAST))):
        done = await writ.run("test_noop", "web-1")
        assert done.outcome == "succeeded"


@pytest.mark.exhaustive
async def test_readiness_names_a_stopped_audit_service(installation: RunningInstallation) -> None:
    health_check = HealthCheck(installation, "executor", "audit")
    async with well_again(health_check):
        with installation.paused("audit"):
            await health_check.is_ill("no audit service has reported")
            assert "no answer" in await HealthCheck(installation, "audit", "index").status()


async def test_readiness_names_an_index_that_cannot_be_written(installation: RunningInstallation) -> None:
    health_check = HealthCheck(installation, "audit", "index")
    async with well_again(health_check), await installation.client() as writ:
        with closing(sqlite3.connect(installation.home.state / "audit/audit.sqlite", isolation_level=None)) as held:
            held.execute("BEGIN IMMEDIATE")  # as if the disk took no more: nothing gets into it
            await writ.run("test_noop", "web-1")
            await health_check.is_ill("locked")


@pytest.mark.exhaustive
async def test_status_of_a_stopped_nats_server_comes_within_three_seconds(installation: RunningInstallation) -> None:
    """A stopped server still accepts connections, so only time tells."""
    with installation.paused("nats"), stopwatch() as seconds:
        status = await control.status(installation.home, os.environ)
        assert seconds() < 3.0
    assert status.journal is None
    assert "nats" in degradation.degradations(status)["journal: NATS does not answer"]
    assert [one.state for one in status.processes if one.name == "nats"] == ["no answer"]
    await eventually(lambda: _well(installation), within=WITHIN, what="a well installation")


@pytest.mark.exhaustive
@pytest.mark.parametrize("process", ["audit", "nats"])
async def test_status_has_the_reason_of_a_restart(installation: RunningInstallation, process: str) -> None:
    installation.kill(process)

    async def reason() -> bool:
        status = await control.status(installation.home, os.environ)
        return any(one.name == process and one.restarted_for == "was ended by SIGKILL" for one in status.processes)

    await eventually(reason, within=WITHIN, what="the reason of the restart")
    await eventually(lambda: _well(installation), within=WITHIN, what="a well installation")


async def _well(installation: RunningInstallation) -> bool:
    status = await control.status(installation.home, os.environ)
    return status.ready and not degradation.degradations(status)
