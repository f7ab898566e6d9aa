"""kill -9 of one process at one named step of an operation: one outcome, at most one effect, in bounded time.

The process kills itself at the step (`WRIT_FAULT`), once; `writ up` starts it again, as systemd would. The operation
is `test_count`, which may not be run twice and whose effects can be counted in a file.
"""

import asyncio
from pathlib import Path

import pytest

from writ_client.client import Writ
from writ_contracts.errors import WritError
from writ_contracts.ids import operation_id as id_of
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.installations.count_load import settled
from writ_testing.installations.installation import RunningInstallation, running_installation

ENVIRON = {"WRIT_HEARTBEAT": "0.3", "WRIT_LEASE": "1", "WRIT_SWEEP": "0.3", "WRIT_START_WINDOW": "30"}
"""What a killed agent had pulled is delivered again after 10 s, and has to start after that on a slow machine, too."""
TIMEOUT = 4
BOUND = (
    TIMEOUT + 5 + 1 + 5 + 30
)  # the operation's own, the kill's grace, one lease plus 5 s, and a slow machine's restarts

AT_EXECUTOR = (
    "executor.params_kept",
    "executor.requested",
    "executor.before_dispatch",
    "executor.locked",
    "executor.granted",
    "executor.receipt",
    "executor.finished",
)
AT_POLICY = ("policy.granting", "policy.granted")
AT_AGENT = (
    "agent.pulled",
    "agent.claimed",
    "agent.intent",
    "agent.ran",
    "agent.receipt_spooled",
    "agent.receipt_sent",
)


async def outcome(writ: Writ, counted: Path, key: str) -> str:
    """Return the outcome of one `test_count`, repeated under the same key as a client would after a failure."""

    async def ask() -> str | None:
        parameters = {"path": str(counted), "timeout": TIMEOUT}
        try:
            return (await writ.run("test_count", "web-1", parameters, idempotency_key=key, timeout=BOUND)).outcome
        except WritError:
            return None  # somebody died while it was asked

    return await eventually(ask, within=BOUND, what="an outcome")


async def check(installation: RunningInstallation, counted: Path, key: str) -> None:
    async with await installation.client() as writ:
        reported = await outcome(writ, counted, key)
        operation_id = id_of("operator", key)
        final = await settled(writ, operation_id)
        effects = counted.read_text().split() if counted.exists() else []
        trace = [event.kind for event in (await writ.trace(operation_id=operation_id)).events]
    assert len(effects) <= 1, f"{len(effects)} effects: {trace}"
    assert trace.count("finished") + trace.count("unknown") + trace.count("refused") == 1, trace
    if final == "succeeded":
        assert effects == [operation_id]
    else:
        assert (final, effects) in [("failed", []), ("expired", [])], (reported, final, effects, trace)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "fault", some([*AT_EXECUTOR, *AT_POLICY, *AT_AGENT], "executor.locked", "policy.granted", "agent.ran")
)
async def test_a_process_killed_at_any_step_leaves_one_outcome_and_at_most_one_effect(
    tmp_path: Path, fault: str
) -> None:
    environ = {**ENVIRON, "WRIT_FAULT": fault, "WRIT_FAULT_ONCE": str(tmp_path / "died")}
    async with running_installation(tmp_path, executors=2, environ=environ) as installation:
        await check(installation, tmp_path / "files" / "counted", f"key-{fault}")
        await eventually(lambda: _there(tmp_path / "died"), what=f"the step {fault}")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", ["executor.noticed", "agent.noticed"])
async def test_a_process_killed_at_the_notice_of_a_change_leaves_one_outcome(tmp_path: Path, fault: str) -> None:
    """A notice is sent once an executor has seen the lock of the target, and a heartbeat of its agent."""
    environ = {**ENVIRON, "WRIT_FAULT": fault, "WRIT_FAULT_ONCE": str(tmp_path / "died")}
    async with running_installation(tmp_path, environ=environ) as installation:
        for number in range(30):
            await check(installation, tmp_path / "files" / f"counted-{number}", f"key-{number}")
            if (tmp_path / "died").exists():
                break
        assert (tmp_path / "died").exists()
        await check(installation, tmp_path / "files" / "counted", "key-after")


async def _there(path: Path) -> bool:
    return path.exists()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("victim", some(["policy", "audit", "nats"], "nats"))
async def test_a_killed_service_delays_and_changes_nothing(tmp_path: Path, victim: str) -> None:
    async with running_installation(tmp_path, executors=2, environ=ENVIRON) as installation:
        counted = tmp_path / "files" / "counted"
        async with await installation.client() as writ:
            await writ.run("test_noop", "web-1", timeout=20)
        work = asyncio.create_task(check(installation, counted, f"key-{victim}"))
        await eventually(lambda: _exists(installation, f"key-{victim}"), what="the request")
        pid = installation.kill(victim)
        await work
        await installation.until(victim, other_than=pid)


async def _exists(installation: RunningInstallation, key: str) -> bool:
    async with await installation.client() as writ:
        try:
            return (await writ.get(id_of("operator", key))).state != "absent"
        except WritError:
            return False


@pytest.mark.exhaustive
@pytest.mark.timeout(240)
async def test_processes_killed_all_the_time_still_leave_one_outcome_each(tmp_path: Path) -> None:
    async with running_installation(tmp_path, executors=2, environ=ENVIRON) as installation:
        stop = asyncio.Event()
        killer = asyncio.create_task(_kill_in_turn(installation, stop))
        folder = tmp_path / "files"
        await asyncio.gather(
            *(check(installation, folder / f"counted-{number}", f"key-{number}") for number in range(6))
        )
        stop.set()
        await killer


async def _kill_in_turn(installation: RunningInstallation, stop: asyncio.Event) -> None:
    agent = next(one.name for one in installation.report.processes if one.name.startswith("agent-"))
    for name in ("executor-1", agent, "policy", "executor-2", "audit"):
        if stop.is_set():
            return
        pid = installation.kill(name)
        await installation.until(name, other_than=pid)
