"""The agent, `docker compose` or the engine dies at each changing request of a stack's deploy, update and removal.

Each case has one true outcome and at most one effect, and created objects are found by a label.
"""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.agent_docker.crash_cases import OPERATION
from tests.agent_docker.engine_host import EngineHost
from tests.agent_docker.stack_cases import CASES, StackCase, is_reached, made_by_stack, prepared, stack_state
from tests.agent_docker.test_crashes import host_in, run

from writ_agent.backends import processes
from writ_agent.backends.port import ProbeResult, Task, TaskResult
from writ_hostops.processes import kill
from writ_testing.fakes.docker_engine import Kind

STEPS = [(name, number) for name, case in CASES.items() for number in range(1, case.calls + 1)]
BY_COMPOSE = [(name, number) for name, number in STEPS if name != "remove"]
pytestmark = pytest.mark.exhaustive
KINDS = pytest.mark.parametrize("kind", ["hang", "act_and_hang"])


@pytest.mark.parametrize("name", CASES)
async def test_run_makes_the_requests_that_are_counted(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    async with host_in(tmp_path) as host:
        task = await prepared(host, case)
        done = await host.backend.run(task, print)
        assert (done.outcome, is_reached(case, host.engine)) == ("succeeded", True), (done, stack_state(host.engine))
        assert (len(host.engine.changes), host.engine.changes) == (case.calls, host.engine.changes)
        probed = await host.backend.probe(task, task.baseline)
        assert probed.verdict == ("unknown" if name == "update" else "took_effect"), probed


@KINDS
@pytest.mark.parametrize(("name", "number"), STEPS)
async def test_probe_after_a_killed_agent_is_true(tmp_path: Path, name: str, number: int, kind: Kind) -> None:
    """While a child process of the dead agent still runs, the probe is undecided."""
    case = CASES[name]
    async with host_in(tmp_path) as host:
        task = await prepared(host, case)
        before = stack_state(host.engine)
        killed = await broken(host, task, (number, kind))
        second = host.again()
        try:
            if processes.living(OPERATION):
                assert (await second.backend.probe(task, task.baseline)).verdict == "unknown"
            assert await processes.end(OPERATION, 0.0)
            check_probe(case, host, before, await second.backend.probe(task, task.baseline))
        finally:
            await second.backend.close()
        await host.backend.stop(OPERATION, 5.0)
        await asyncio.wait({killed}, timeout=20)


@KINDS
@pytest.mark.parametrize(("name", "number"), BY_COMPOSE)
async def test_outcome_with_a_killed_compose_is_true(tmp_path: Path, name: str, number: int, kind: Kind) -> None:
    case = CASES[name]
    async with host_in(tmp_path) as host:
        task = await prepared(host, case)
        before = stack_state(host.engine)
        running = await broken(host, task, (number, kind))
        kill(processes.living(OPERATION), signal.SIGKILL)
        done = await asyncio.wait_for(running, 30)
        check_outcome(case, host, before, done)
        check_probe(case, host, before, await host.backend.probe(task, task.baseline))


@KINDS
@pytest.mark.parametrize("back", [True, False], ids=["restarted", "gone"])
@pytest.mark.parametrize(("name", "number"), STEPS)
async def test_outcome_with_a_killed_engine_is_true(
    tmp_path: Path, name: str, number: int, back: bool, kind: Kind
) -> None:
    case = CASES[name]
    async with host_in(tmp_path) as host:
        task = await prepared(host, case)
        before = stack_state(host.engine)
        running = await broken(host, task, (number, kind))
        await (host.engine.restart() if back else host.engine.stop())
        done = await asyncio.wait_for(running, 30)
        check_outcome(case, host, before, done)
        if not back:
            await host.engine.start()
        check_probe(case, host, before, await host.backend.probe(task, task.baseline))


@pytest.mark.parametrize("kind", [500, 409, 404, "cut", "act_and_cut", "garble"])
@pytest.mark.parametrize(("name", "number"), STEPS)
async def test_outcome_with_a_failed_request_is_true(tmp_path: Path, name: str, number: int, kind: Kind | int) -> None:
    case = CASES[name]
    async with host_in(tmp_path) as host:
        task = await prepared(host, case)
        before = stack_state(host.engine)
        host.engine.breaks = (number, kind)
        done = await asyncio.wait_for(run(host, task), 30)
        check_outcome(case, host, before, done)
        check_probe(case, host, before, await host.backend.probe(task, task.baseline))


async def broken(host: EngineHost, task: Task, fault: tuple[int, Kind]) -> asyncio.Task[TaskResult]:
    """Begin the operation; return it once the engine has broken off at the faulty request."""
    host.engine.breaks = fault
    running = asyncio.create_task(run(host, task))
    async with asyncio.timeout(20):
        await host.engine.broken.wait()
    return running


def check_probe(case: StackCase, host: EngineHost, before: dict[str, Any], probed: ProbeResult) -> None:
    details = (case.operation, probed, stack_state(host.engine))
    if probed.verdict == "took_effect":
        assert is_reached(case, host.engine), details
    elif probed.verdict == "no_effect":
        assert stack_state(host.engine) == before, details
    elif created := {one[:2] for one in stack_state(host.engine)["containers"]} - {
        one[:2] for one in before["containers"]
    }:
        assert made_by_stack(host.engine), (created, details)


def check_outcome(case: StackCase, host: EngineHost, before: dict[str, Any], done: TaskResult) -> None:
    details = (case.operation, done, stack_state(host.engine))
    if done.outcome == "succeeded":
        assert is_reached(case, host.engine), details
    if done.effect == "none":
        assert stack_state(host.engine) == before, details
    if done.outcome == "failed" and done.effect == "done":
        assert not is_reached(case, host.engine), details
        assert stack_state(host.engine) != before, details
