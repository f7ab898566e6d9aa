"""Agents come and go during work: a new one takes its part, and no work is lost with a leaving or dead one."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.test_metrics import scraped

from writ_client.client import Writ
from writ_testing.installations.count_load import load
from writ_testing.installations.extra_agents import more_agents
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
ENVIRON = {"WRIT_HEARTBEAT": "0.3", "WRIT_LEASE": "2", "WRIT_SWEEP": "0.3", "WRIT_SLOTS": "2"}
TARGETS = [f"web-{number}" for number in range(8)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Three of each service but one agent, of two slots, for eight targets."""
    folder = tmp_path_factory.mktemp("scaling")
    home = prepare(folder, targets=[local_target(name, folder / "files") for name in TARGETS])
    three = ("--policies", "3", "--audits", "3")
    async with running_installation(folder, home=home, executors=3, arguments=three, environ=ENVIRON) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


async def begun_by(writ: Writ, operation_id: str) -> str:
    """Return the instance with the grant."""
    events = (await writ.trace(operation_id=operation_id)).events
    return str(next(event.body["instance"] for event in events if event.kind == "granted"))


@pytest.mark.exhaustive
async def test_an_agent_added_while_work_waits_takes_its_part(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    parameters = {"path": str(files / "added"), "delay": 1.0}
    # Sixteen seconds for one agent.
    answers = [await writ.submit("test_count", target, parameters) for target in TARGETS * 4]
    first = await writ.wait(answers[0].operation_id or "", timeout=60)
    async with more_agents(installation, 1, ENVIRON):
        done = [await writ.wait(one.operation_id or "", timeout=60) for one in answers]
        instances = [await begun_by(writ, view.operation_id) for view in done]
    assert {view.outcome for view in done} == {"succeeded"}
    others = [one for one in instances if one != await begun_by(writ, first.operation_id)]
    assert len(set(others)) == 1
    assert len(others) >= 4, instances
    assert sorted((files / "added").read_text().split()) == sorted(view.operation_id for view in done)


async def test_a_stopping_agent_ends_its_operations_and_leaves_the_rest_to_others(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    async with load(writ, TARGETS, files / "left", delay=0.3) as ran, more_agents(installation, 2, ENVIRON) as added:
        await ran.more(12)
        for one in added:
            one.terminate()
            assert await asyncio.wait_for(one.wait(), 30) == 0
            await ran.more(6)
    await ran.check(writ)


@pytest.mark.exhaustive
async def test_an_agent_that_is_killed_leaves_one_outcome_and_at_most_one_effect_each(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    async with load(writ, TARGETS, files / "killed", delay=0.3) as ran, more_agents(installation, 2, ENVIRON) as added:
        await ran.more(12)
        for one in added:
            one.send_signal(signal.SIGKILL)
            await asyncio.wait_for(one.wait(), 30)
            await ran.more(6)
    ends = await ran.check_ends(writ)
    assert set(ends) <= {"succeeded", "failed"}
    assert ends["succeeded"] > ends["failed"]


async def test_every_replica_takes_its_part_of_the_work(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    counters = {
        "policy": "writ_policy_decisions_total{",
        "executor": "writ_handled_total{",
        "audit": "writ_handled_total{",
    }
    before = await scraped(installation)
    async with load(writ, TARGETS, files / "shared") as ran:
        await ran.more(60)
    await ran.check(writ)  # and asks audit for each trace
    after = await scraped(installation)
    for kind, counter in counters.items():
        replicas = [name for name in after if name.startswith(kind)]
        assert len(replicas) == 3
        for name in replicas:
            assert total(after[name], counter) > total(before[name], counter), name


def total(text: str, counter: str) -> float:
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(counter))
