"""The agent or the engine dies at each request of each change.

Each case has one true outcome and at most one effect, and leftovers are found by the operation's label. A dead agent
sends no further request; the engine may or may not have carried out the last one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.agent_docker.crash_cases import CASES, OPERATION, CrashCase, made_by, prepared, state_of
from tests.agent_docker.engine_host import EngineHost

from writ_agent.backends.port import ProbeResult, Task, TaskResult
from writ_contracts.errors import WritError
from writ_testing.exhaustive import some
from writ_testing.fakes.docker_engine import Kind, fake_engine

STEPS = [(name, number) for name, case in CASES.items() for number in range(1, case.calls + 1)]
CHEAP = [("create", 2), ("update", 4)]
FOUND_BY_LABEL = ("container_create", "container_update", "backup_restore")


@asynccontextmanager
async def host_in(folder: Path) -> AsyncIterator[EngineHost]:
    async with fake_engine(folder / "engine.sock") as engine:
        host = EngineHost(folder, engine)
        try:
            yield host
        finally:
            await host.backend.close()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", CASES)
async def test_run_makes_the_requests_that_are_counted(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    async with host_in(tmp_path) as host:
        task = await prepared(host, case)
        before = state_of(host.engine)
        done = await host.backend.run(task, print)
        assert (done.outcome, case.reached(host.engine)) == ("succeeded", True)
        assert (len(host.engine.changes), host.engine.changes) == (case.calls, host.engine.changes)
        assert before != state_of(host.engine) or name in ("restart", "backup")
        if task.operation.probe:
            assert (await host.backend.probe(task, task.baseline)).verdict == "took_effect"


@pytest.mark.parametrize("kind", ["hang", "act_and_hang"])
@pytest.mark.parametrize(("name", "number"), some(STEPS, *CHEAP))
async def test_probe_after_a_killed_agent_is_true(tmp_path: Path, name: str, number: int, kind: Kind) -> None:
    case = CASES[name]
    async with host_in(tmp_path) as host:
        task = await prepared(host, case)
        before = state_of(host.engine)
        host.engine.breaks = (number, kind)
        killed = asyncio.create_task(host.backend.run(task, print))
        async with asyncio.timeout(20):
            await host.engine.broken.wait()
        if task.operation.probe:
            second = host.again()
            try:
                check_probe(case, host, before, await second.backend.probe(task, task.baseline))
            finally:
                await second.backend.close()
        await host.backend.stop(OPERATION, 5.0)
        await asyncio.wait({killed}, timeout=20)


@pytest.mark.parametrize("kind", ["hang", "act_and_hang"])
@pytest.mark.parametrize("back", [True, False], ids=["restarted", "gone"])
@pytest.mark.parametrize(("name", "number"), some(STEPS, ("create", 2)))
async def test_outcome_with_a_killed_engine_is_true(
    tmp_path: Path, name: str, number: int, back: bool, kind: Kind
) -> None:
    case = CASES[name]
    async with host_in(tmp_path) as host:
        task = await prepared(host, case)
        before = state_of(host.engine)
        host.engine.breaks = (number, kind)
        running = asyncio.create_task(run(host, task))
        async with asyncio.timeout(20):
            await host.engine.broken.wait()
        await (host.engine.restart() if back else host.engine.stop())
        done = await asyncio.wait_for(running, 30)
        check_outcome(case, host, before, done)
        if not back:
            await host.engine.start()
        if task.operation.probe:
            check_probe(case, host, before, await host.backend.probe(task, task.baseline))
        assert len(made_by(host.engine)) <= 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", CASES)
async def test_slow_engine_delays_and_changes_nothing(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    async with host_in(tmp_path) as host:
        task = await prepared(host, case)
        host.engine.delay = 0.1
        done = await host.backend.run(task, print)
        assert (done.outcome, case.reached(host.engine)) == ("succeeded", True)


async def run(host: EngineHost, task: Task) -> TaskResult:
    """Run it as the agent's runtime does: a refusal has no effect."""
    try:
        return await host.backend.run(task, print)
    except WritError as error:
        return TaskResult(outcome="failed", code=error.code, message=str(error), effect="none")


def check_probe(case: CrashCase, host: EngineHost, before: dict[str, Any], probed: ProbeResult) -> None:
    """Assert that a probe reports the engine's state, and unclear states by the operation's label or by names."""
    details = (case.operation, probed, state_of(host.engine))
    if probed.verdict == "took_effect":
        assert case.reached(host.engine), details
    elif probed.verdict == "no_effect":
        assert without_leftovers(state_of(host.engine)) == without_leftovers(before), details
    elif case.operation in FOUND_BY_LABEL:
        assert made_by(host.engine), details
    assert len(made_by(host.engine)) <= 1, details


def check_outcome(case: CrashCase, host: EngineHost, before: dict[str, Any], done: TaskResult) -> None:
    details = (case.operation, done, state_of(host.engine))
    if done.outcome == "succeeded":
        assert case.reached(host.engine), details
    if done.effect == "none":
        assert without_leftovers(state_of(host.engine)) == without_leftovers(before), details
    if done.outcome == "failed" and done.effect == "done":
        assert not case.reached(host.engine), details


def without_leftovers(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state without pulled images and new host folders: they are unused, and an engine removes no folder."""
    files = {name: digest for name, digest in state["files"].items() if ".restored-" not in name}
    return {**state, "images": {}, "files": files}
