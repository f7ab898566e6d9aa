"""Each process of an installation has its own clocks, which are wrong, step, drift, or slept through a night.

Invariants: one change at a time on a target, each effect once, no running operation is lost, and each one ends.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.faults.test_kills import ENVIRON

from writ_client.client import Writ
from writ_contracts.agents import Progress
from writ_contracts.catalogue.control import OPERATIONS
from writ_contracts.ids import operation_id as id_of
from writ_installation.status.control import ProcessStatus, status
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.host_clocks import HostClocks, shifted_python
from writ_testing.installations.count_load import settled
from writ_testing.installations.installation import RunningInstallation, open_policy, running_installation
from writ_testing.plugin.handlers import AT_WORK

pytestmark = pytest.mark.timeout(240)
DAY = 86_400.0
STEPS = [600.0, -600.0, DAY, -DAY]
DELAY = 4.0
_numbers = count()


class Run:
    """An installation, its clocks, and a client."""

    def __init__(self, installation: RunningInstallation, clocks: HostClocks, writ: Writ, counted: Path) -> None:
        self.installation, self.clocks, self.writ, self.counted = installation, clocks, writ, counted
        self.work = set[asyncio.Task[object]]()

    def step(self, name: str, **seconds: float) -> None:
        """Step the clocks of every process with a name that begins so."""
        for process in self.installation.report.processes:
            if process.name.startswith(name):
                self.clocks.set(process.name, **seconds)

    def named(self, name: str) -> str:
        """The first process whose name begins so."""
        return next(one.name for one in self.installation.report.processes if one.name.startswith(name))

    async def count(self, delay: float = 0.0) -> str:
        """Request one more line in the file; return the operation's id."""
        parameters = {"path": str(self.counted), "delay": delay, "timeout": 20}
        answer = await self.writ.submit("test_count", "web-1", parameters)
        assert answer.operation_id, answer
        return answer.operation_id

    async def counting(self, delay: float) -> str:
        """Start a `count`; return when its agent reports progress."""
        key, heard = f"counting-{next(_numbers)}", list[object]()
        parameters = {"path": str(self.counted), "delay": delay, "timeout": 20}
        running = self.writ.run("test_count", "web-1", parameters, idempotency_key=key, on_event=heard.append)
        self.work.add(asyncio.create_task(running))

        async def runs() -> bool:
            return any(isinstance(event, Progress) and event.message == AT_WORK for event in heard)

        await eventually(runs, what="the operation to run")
        return id_of("operator", key)

    async def sequences(self, operation_id: str, kind: str) -> list[int]:
        """Return the journal sequences of events of that kind."""
        events = (await self.writ.trace(operation_id=operation_id)).events
        return [event.sequence for event in events if event.kind == kind]

    async def ready(self, name: str, expected_text: str, *, ready: bool) -> ProcessStatus:
        """Return the process's report of its clock, once it is ready, or once it is not."""

        async def check() -> ProcessStatus | None:
            observed = await status(self.installation.home, {})
            one = next(process for process in observed.processes if process.name == name)
            text = one.failing.get("clock", "") or one.details.get("clock", "")
            return one if one.ready is ready and expected_text in text else None

        return await eventually(check, what=f"{name}: {expected_text}")


@asynccontextmanager
async def running(folder: Path, executors: int, **prepared: Any) -> AsyncIterator[Run]:
    clocks = HostClocks(folder / "clocks")
    environ, command = {**ENVIRON, **clocks.environ}, shifted_python(folder)
    async with (
        running_installation(folder, executors=executors, environ=environ, command=command, **prepared) as installation,
        await installation.client() as writ,
    ):
        run = Run(installation, clocks, writ, folder / "files" / "counted")
        yield run
        await asyncio.gather(*run.work)


async def one_after_the_other(run: Run, first: str, second: str) -> None:
    """Assert that both succeed, the second dispatched after the end of the first by the journal's order."""
    assert [await settled(run.writ, one) for one in (first, second)] == ["succeeded", "succeeded"]

    async def stored() -> tuple[list[int], list[int]] | None:
        found = await run.sequences(first, "finished"), await run.sequences(second, "dispatched")
        return found if all(found) else None

    [end], [begin] = await eventually(stored, what="the events of both")
    assert end < begin
    assert run.counted.read_text().split() == [first, second]


@pytest.mark.parametrize("executors", some([1, 3], 1))
async def test_changes_of_a_target_stay_in_order_after_a_step_of_an_executors_clock(
    tmp_path: Path, executors: int
) -> None:
    async with running(tmp_path, executors) as run:
        for number, step in enumerate(STEPS):
            run.counted.unlink(missing_ok=True)
            first, second = await run.counting(DELAY), await run.count()
            run.step("executor" if executors == 1 else f"executor-{number % executors + 1}", wall=step)
            await one_after_the_other(run, first, second)


@pytest.mark.exhaustive
@pytest.mark.parametrize("executors", [1, 3])
async def test_changes_of_a_target_stay_in_order_if_executors_clocks_differ(tmp_path: Path, executors: int) -> None:
    async with running(tmp_path, executors) as run:
        for number, step in enumerate(STEPS[:executors]):
            run.clocks.set("executor" if executors == 1 else f"executor-{number + 1}", wall=step, drift=0.1)
        for _ in range(2):
            run.counted.unlink(missing_ok=True)
            first, second = await run.count(2.0), await run.count()
            await one_after_the_other(run, first, second)
        quiet = await run.writ.run("test_noop", "web-1", timeout=30)
        assert quiet.outcome == "succeeded"


@pytest.mark.exhaustive
async def test_operations_succeed_after_a_step_of_the_agents_clock(tmp_path: Path) -> None:
    listed = {
        "name": "only_what_is_there",
        "operations": ["service_status"],
        "allowed": True,
        "parameter_constraints": {"service_name": {"allowlist_source": "services"}},
    }
    async with running(tmp_path, 1, policy=open_policy(listed)) as run:
        for step in STEPS:
            run.step("agent", wall=step)
            run.counted.unlink(missing_ok=True)
            parameters = {"path": str(run.counted)}
            dry = await run.writ.run("test_count", "web-1", parameters, dry_run=True, timeout=30)
            assert (dry.outcome, dry.code) == ("previewed", "")
            first, second = await run.count(1.0), await run.count()
            await one_after_the_other(run, first, second)
        expected = " behind the NATS server's"
        await run.ready(run.named("agent"), expected, ready=True)


@pytest.mark.exhaustive
async def test_operations_and_stops_succeed_after_a_step_of_policys_clock(tmp_path: Path) -> None:
    stops = {"name": "may_stop", "operations": ["stop_set"], "allowed": True}
    async with running(tmp_path, 1, policy=open_policy(stops)) as run:
        for step in STEPS:
            run.step("policy", wall=step)
            assert (await run.writ.run("test_noop", "web-1", timeout=30)).outcome == "succeeded"
            done = await run.writ.stop_set(["web-9"], reason="a test", timeout=30)
            assert done.outcome == "succeeded"  # on a statement that its principal signed just now
            await run.ready(run.named("policy"), "ahead of" if step > 0 else "behind", ready=False)


@pytest.mark.exhaustive
@pytest.mark.parametrize("step", STEPS)
async def test_a_published_version_is_in_force_whatever_the_clocks_of_policy_and_executor_show(
    tmp_path: Path, step: float
) -> None:
    publish = {"name": "may_publish", "operations": [one.name for one in OPERATIONS], "allowed": True}
    narrow = open_policy(publish).replace("test_noop", "test_sleep")
    async with running(tmp_path, 1, policy=open_policy(publish)) as run:
        run.step("policy", wall=step)
        run.step("executor", wall=-step)
        done = await run.writ.policy_publish(narrow, reason="a test", timeout=30)
        assert done.outcome == "succeeded", done

        async def in_force() -> bool:
            return (await run.writ.run("test_noop", "web-1", timeout=30)).outcome == "denied"

        await eventually(in_force, what="the published version in force")


@pytest.mark.exhaustive
@pytest.mark.parametrize("slept", [60.0, 600.0, 3_000.0])
async def test_changes_of_a_target_stay_in_order_after_a_suspend_of_the_host(tmp_path: Path, slept: float) -> None:
    """Executor, agent and operation sleep together; NATS and policy run elsewhere."""
    async with running(tmp_path, 1) as run:
        first, second = await run.counting(DELAY), await run.count()
        run.step("executor", boot=slept)
        run.step("agent", boot=slept)
        await one_after_the_other(run, first, second)


async def test_skew_of_each_clock_is_reported(tmp_path: Path) -> None:
    async with running(tmp_path, 2) as run:
        await run.ready("executor-2", " ms ", ready=True)
        run.step("executor-2", wall=3.0)
        run.step("audit", wall=-3.0)
        run.step("agent", wall=30.0)
        executor = await run.ready("executor-2", "3.0 s ahead of", ready=True)
        await run.ready(run.named("audit"), "3.0 s behind", ready=True)
        agent = await run.ready(run.named("agent"), "30.0 s ahead of", ready=True)
        assert "clock" in agent.failing

        async def named() -> bool:
            observed = await status(run.installation.home, {})
            texts = [one.failing.get("agent_clocks", "") for one in observed.processes]
            return any("30.0 s ahead of" in text for text in texts)

        await eventually(named, what="the agent's clock as executors tell it")

        async def measured() -> bool:
            """One measurement is off by the time that a busy machine takes for it."""
            reader, writer = await asyncio.open_connection("127.0.0.1", executor.health_port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            lines = (await reader.read(-1)).decode().splitlines()
            writer.close()
            [line] = [one for one in lines if one.startswith("writ_clock_skew_seconds ")]
            return 2.9 < float(line.split()[1]) < 3.1

        await eventually(measured, what="a skew of 3.0 s among the metrics")


@pytest.mark.exhaustive
@pytest.mark.parametrize("executors", some([1, 3], 3))
@pytest.mark.parametrize("step", some([600.0, -DAY], 600.0))
async def test_executors_with_wrong_clocks_die_while_an_operation_runs(
    tmp_path: Path, executors: int, step: float
) -> None:
    """Their successors grant short leases again, and measure long ones by the server's time."""
    async with running(tmp_path, executors) as run:
        run.step("executor", wall=step, drift=-0.1)
        first, second = await run.counting(DELAY), await run.count()
        for process in run.installation.report.processes:
            if process.name.startswith("executor"):
                pid = run.installation.kill(process.name)
                await run.installation.until(process.name, other_than=pid)
        await one_after_the_other(run, first, second)


@pytest.mark.exhaustive
@pytest.mark.parametrize("executors", some([1, 3], 1))
async def test_an_agent_with_a_wrong_clock_dies_while_an_operation_runs(tmp_path: Path, executors: int) -> None:
    """The restarted agent asks by the server's time how much of the operation's own time is left."""
    async with running(tmp_path, executors) as run:
        run.step("agent", wall=DAY)
        run.step("executor", wall=-600.0)
        first, second = await run.counting(DELAY), await run.count()
        name = run.named("agent")
        await run.installation.until(name, other_than=run.installation.kill(name))
        outcomes = [(await run.writ.wait(one, timeout=90)).outcome for one in (first, second)]
        assert outcomes in (["unknown", "succeeded"], ["failed", "succeeded"])
        assert run.counted.read_text().split() == [second]
