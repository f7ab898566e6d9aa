"""kill -9 during idempotent and control operations: each ends once, as it should."""

from pathlib import Path

import pytest
from tests.faults.test_kills import AT_AGENT, BOUND, ENVIRON

from writ_client.client import Writ
from writ_contracts.errors import WritError
from writ_contracts.requests import OperationView
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.installations.installation import RunningInstallation, open_policy, running_installation

pytestmark = pytest.mark.timeout(180)
CONTROLS = {"name": "controls", "operations": ["operation_cancel", "stop_set", "stop_lift"], "allowed": True}


async def ended(writ: Writ, operation: str, target: str, parameters: dict[str, object], key: str) -> OperationView:
    """Repeat the request under the same key, as a client would, until it has ended."""

    async def ask() -> OperationView | None:
        try:
            return await writ.run(operation, target, parameters, idempotency_key=key, timeout=BOUND)
        except WritError:
            return None

    return await eventually(ask, within=2 * BOUND, what=f"the end of {operation}")


async def kinds(writ: Writ, operation_id: str) -> list[str]:
    return [event.kind for event in (await writ.trace(operation_id=operation_id)).events]


def dying(tmp_path: Path, fault: str) -> dict[str, str]:
    return {**ENVIRON, "WRIT_FAULT": fault, "WRIT_FAULT_ONCE": str(tmp_path / "died")}


async def died(tmp_path: Path) -> None:
    """Wait for the death at its step, which may come just after the published end."""

    async def has_died() -> bool:
        return (tmp_path / "died").exists()

    await eventually(has_died, what="the step")


@pytest.mark.parametrize("fault", some(AT_AGENT, "agent.intent"))
async def test_an_agent_killed_at_any_step_of_what_may_be_run_again_still_succeeds(tmp_path: Path, fault: str) -> None:
    async with running_installation(tmp_path, executors=2, environ=dying(tmp_path, fault)) as installation:
        async with await installation.client() as writ:
            path = tmp_path / "files" / "written"
            wish: dict[str, object] = {"file_path": str(path), "content": "once\n", "timeout": 4}
            done = await ended(writ, "file_write", "web-1", wish, "write")
            events = await kinds(writ, done.operation_id)
        await died(tmp_path)
        if fault == "agent.claimed":  # it knows that nothing was run, and says so
            assert (done.outcome, done.code, path.exists()) == ("failed", "agent_restarted", False), events
        else:
            assert (done.outcome, path.read_text()) == ("succeeded", "once\n"), events
        assert events.count("finished") == 1
        assert [one.name for one in path.parent.iterdir() if one != path] == []


@pytest.mark.parametrize(
    "fault", some(["executor.control_started", "executor.control_stored"], "executor.control_stored")
)
@pytest.mark.exhaustive
async def test_a_stop_whose_executor_is_killed_is_set_once_and_lifted_once(tmp_path: Path, fault: str) -> None:
    environ, policy = dying(tmp_path, fault), open_policy(CONTROLS)
    async with running_installation(tmp_path, executors=2, environ=environ, policy=policy) as installation:  # noqa: SIM117
        async with await installation.client() as writ:
            stop = await ended(writ, "stop_set", "writ", {"scope": ["web-*"], "reason": "it burns"}, "stop")
            await died(tmp_path)
            assert stop.outcome == "succeeded"
            refused = await writ.submit("test_count", "web-1", {"path": str(tmp_path / "files" / "x")})
            assert (refused.outcome, refused.error and refused.error.code) == ("denied", "stopped")
            lift = await ended(writ, "stop_lift", "writ", {"stop_id": stop.operation_id}, "lift")
            assert lift.outcome == "succeeded"
            done = await writ.run("test_count", "web-1", {"path": str(tmp_path / "files" / "x")}, timeout=20)
            assert done.outcome == "succeeded"
            assert (await kinds(writ, stop.operation_id)).count("finished") == 1


@pytest.mark.parametrize(
    "fault",
    some(
        ["executor.control_started", "executor.version_stored", "executor.control_stored", "executor.params_kept"],
        "executor.version_stored",
    ),
)
async def test_a_publish_whose_executor_is_killed_makes_one_version(tmp_path: Path, fault: str) -> None:
    governing = ["policy_publish", "policy_rollback", "stop_lift", "journal_archive", "audit_read"]
    publishes = {"name": "publishes", "operations": governing, "allowed": True}
    nobody = {"name": "nobody", "operations": ["test_noop"], "allowed": False}
    environ, document = dying(tmp_path, fault), open_policy(publishes, nobody)
    policy = open_policy(publishes)
    async with running_installation(tmp_path, executors=2, environ=environ, policy=policy) as installation:  # noqa: SIM117
        async with await installation.client() as writ:
            wish: dict[str, object] = {"document": document, "reason": "closed", "replaces": 1}
            done = await ended(writ, "policy_publish", "writ", wish, "publish")
            await died(tmp_path)
            assert (done.outcome, done.output.get("version")) == ("succeeded", 2)
            assert (await writ.submit("test_noop", "web-1")).outcome == "denied"
            history = await writ.policy_history()
            assert [one.origin for one in history.versions] == ["published", "file"]
            assert (await kinds(writ, done.operation_id)).count("finished") == 1


@pytest.mark.parametrize(
    "fault", some(["executor.control_started", "executor.cancel_requested"], "executor.cancel_requested")
)
@pytest.mark.exhaustive
async def test_a_cancel_whose_executor_is_killed_still_ends_what_runs(tmp_path: Path, fault: str) -> None:
    async with running_installation(tmp_path, executors=2, environ=dying(tmp_path, fault)) as installation:  # noqa: SIM117
        async with await installation.client() as writ:
            victim = await running(installation, writ)
            cancel = await ended(writ, "operation_cancel", "writ", {"operation_id": victim}, "cancel")
            await died(tmp_path)
            done = await writ.wait(victim, timeout=BOUND)
            assert (cancel.outcome, done.outcome) in [("succeeded", "cancelled"), ("failed", "cancelled")]
            events = await kinds(writ, victim)
            assert (events.count("cancel_requested"), events.count("finished")) == (1, 1)


async def running(installation: RunningInstallation, writ: Writ) -> str:
    answer = await writ.submit("test_sleep", "web-1", {"seconds": 100, "processes": 1})
    operation_id = answer.operation_id or ""

    async def runs() -> bool:
        return (await writ.get(operation_id)).state == "started"

    await eventually(runs, what="its start")
    return operation_id
