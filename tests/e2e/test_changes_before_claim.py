"""Changes between dispatch and claim take effect: policy, stop, silent policy service, deadline."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from writ_client.client import Writ
from writ_documents.atomic_files import write_atomically
from writ_testing.eventually import eventually
from writ_testing.installations.extra_agents import POOL, more_agents
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
ENVIRON = {"WRIT_HEARTBEAT": "0.5", "WRIT_LEASE": "2", "WRIT_START_WINDOW": "30", "WRIT_RATE": "10000"}
STOPS: dict[str, Any] = {"name": "stops", "operations": ["stop_set", "stop_lift", "operation_cancel"], "allowed": True}
NO_COUNTING: dict[str, Any] = {"name": "nobody_counts", "operations": ["test_count"], "allowed": False}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield an installation without an agent: each test starts one at the right moment."""
    folder = tmp_path_factory.mktemp("between")
    home = prepare(folder, policy=open_policy(STOPS))
    async with running_installation(
        folder, home=home, executors=2, environ=ENVIRON, arguments=["--no-agent", POOL]
    ) as running:
        yield running


async def dispatched(writ: Writ, path: Path) -> str:
    answer = await writ.submit("test_count", "web-1", {"path": str(path)})
    assert (answer.state, answer.error) == ("dispatched", None)
    return answer.operation_id or ""


async def kinds(writ: Writ, operation_id: str) -> list[str]:
    return [event.kind for event in (await writ.trace(operation_id=operation_id)).events]


@contextmanager
def paused(installation: RunningInstallation, name: str) -> Iterator[None]:
    pid = installation.pid(name)
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_policy_changed_before_the_claim_denies_the_claim(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    operation_id = await dispatched(writ, files / "changed")
    write_atomically(installation.home.policy, open_policy(STOPS, NO_COUNTING).encode())

    async def in_force() -> bool:
        verdict = (await writ.simulate("test_count", "web-1", {"path": "/x"})).verdict
        return verdict is not None and verdict.decision == "deny"

    try:
        await eventually(in_force, what="the changed policy")
        async with more_agents(installation, environ=ENVIRON):
            done = await writ.wait(operation_id, timeout=30)
    finally:
        write_atomically(installation.home.policy, open_policy(STOPS).encode())
    assert (done.outcome, done.code) == ("denied", "denied")
    assert "granted" not in await kinds(writ, operation_id)
    assert not (files / "changed").exists()

    async def again() -> bool:
        return not await in_force()

    await eventually(again, what="the policy as it was")


@pytest.mark.exhaustive
async def test_target_that_moved_before_the_claim_leaves_the_operation_stale_and_its_lock_free(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    inventory = installation.home.inventory.read_text()

    async def served_by(pool: str) -> bool:
        return [target.pool for target in await writ.targets()] == [pool]

    async with more_agents(installation, environ=ENVIRON) as [agent]:
        agent.send_signal(signal.SIGSTOP)
        first, second = (
            await dispatched(writ, files / "moved"),
            await writ.submit("test_count", "web-1", {"path": str(files / "moved")}),
        )
        moved = inventory.replace("- id: web-1\n", "- id: web-1\n  agent: local-other\n")
        write_atomically(installation.home.inventory, moved.encode())
        try:
            await eventually(lambda: served_by("local-other"), what="the changed inventory")
            agent.send_signal(signal.SIGCONT)
            for operation_id in (first, second.operation_id or ""):
                done = await writ.wait(operation_id, timeout=30)
                assert (done.outcome, done.code) == ("stale", "stale")
                assert f"has moved from pool {POOL} to local-other" in done.message
                assert "security" not in await kinds(writ, operation_id)
        finally:
            write_atomically(installation.home.inventory, inventory.encode())
            await eventually(lambda: served_by(POOL), what="the inventory as it was")
    assert not (files / "moved").exists()


async def test_a_stop_before_the_claim_denies_the_claim_until_it_is_lifted(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    operation_id = await dispatched(writ, files / "stopped")
    stop = await writ.stop_set(["web-*"], reason="something is wrong")
    assert stop.outcome == "succeeded"
    async with more_agents(installation, environ=ENVIRON):
        done = await writ.wait(operation_id, timeout=30)
        assert (done.outcome, done.code) == ("denied", "stopped")
        refused = await writ.submit("test_count", "web-1", {"path": str(files / "stopped")})
        assert refused.outcome == "denied"
        assert refused.error
        assert refused.error.code == "stopped"
        assert (await writ.stop_lift((stop.output or {})["id"])).outcome == "succeeded"
        last = await writ.run("test_count", "web-1", {"path": str(files / "stopped")}, timeout=30)
    assert last.outcome == "succeeded"
    assert (files / "stopped").read_text().split() == [last.operation_id]


async def test_operation_starts_once_policy_answers_again(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    async with more_agents(installation, environ=ENVIRON) as [agent]:
        agent.send_signal(signal.SIGSTOP)  # it has started, which takes nothing of the time in which it has to claim
        operation_id = await dispatched(writ, files / "waited")
        with paused(installation, "policy"):
            before = _claims_refused(installation)
            agent.send_signal(signal.SIGCONT)

            async def refused_again() -> bool:
                return _claims_refused(installation) >= before + 2

            await eventually(refused_again, what="two claims without an answer")
            assert "granted" not in await kinds(writ, operation_id)
            assert not (files / "waited").exists()
        done = await writ.wait(operation_id, timeout=40)
    assert (done.outcome, done.code) == ("succeeded", "")
    assert (files / "waited").read_text().split() == [operation_id]
    assert "security" not in await kinds(writ, operation_id)


def _claims_refused(installation: RunningInstallation) -> int:
    return sum("claim.handled" in line and "timeout" in line for line in installation.logs().splitlines())


@pytest.mark.exhaustive
async def test_operation_expires_while_policy_never_answers(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    operation_id = await dispatched(writ, files / "expired")
    with paused(installation, "policy"):
        async with more_agents(installation, environ=ENVIRON, known=False):
            done = await writ.wait(operation_id, timeout=60)
    assert (done.outcome, done.code) in [("expired", "no_agent"), ("expired", "not_claimed")]
    assert not (files / "expired").exists()


@pytest.mark.exhaustive
async def test_an_agent_that_sleeps_over_its_deadline_runs_nothing(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    async with more_agents(installation, environ=ENVIRON) as [agent]:
        agent.send_signal(signal.SIGSTOP)
        operation_id = await dispatched(writ, files / "slept")
        done = await writ.wait(operation_id, timeout=60)
        assert (done.outcome, done.code) in [("expired", "no_agent"), ("expired", "not_claimed")]
        agent.send_signal(signal.SIGCONT)
        last = await writ.run("test_count", "web-1", {"path": str(files / "slept")}, timeout=30)
    assert last.outcome == "succeeded"
    assert (files / "slept").read_text().split() == [last.operation_id]
