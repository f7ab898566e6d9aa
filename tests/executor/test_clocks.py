"""Executors on hosts with wrong, stepping, drifting or suspended clocks: operations continue, and each ends."""

from collections.abc import Awaitable, Callable

import pytest
from tests.executor.agent_requests import heartbeat
from tests.executor.conftest import World

from writ_contracts.journal import Finished
from writ_contracts.operations import Catalogue
from writ_contracts.version import LEVEL
from writ_executor.service import Executor
from writ_runtime.health import Attention, Detail
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.host_clocks import ClockedHost

RESTART = {"parameters": {"service_name": "nginx", "timeout": 5}}
READ = {"parameters": {"service_name": "nginx"}}
DAY, HOUR = 86_400.0, 3_600.0
WRONG = [600.0, -600.0, HOUR, -HOUR, DAY, -DAY]
LEASE = 15.0
LONG = LEASE / 3 - 0.5
"""Seconds between two rounds that are no gap in which nobody listened."""


def stop_server_clock(world: World, ahead: float = 0.0) -> None:
    """Let the server's clock stand, so many seconds ahead of now."""
    shown = world.broker.disk.clock() + ahead
    world.broker.disk.clock = lambda: shown


async def rounds(one: Executor, times: int = 2) -> None:
    for _ in range(times):
        await one.sweep.round()
        await one.background.settle()


async def passed(
    one: Executor, host: ClockedHost, seconds: float, *, each: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Advance that host's clocks, with a round of the sweep now and then."""
    until = host.boot + seconds
    while host.boot < until:
        host.boot = min(host.boot + LONG, until)
        if each is not None:
            await each()
        await rounds(one, 1)


async def heard(world: World, one: Executor, *running: str) -> None:
    """Take in a heartbeat with these operations."""
    now = one.time.clocks.boot()

    async def there() -> bool:
        return all(one.presence.silence(world.hands.pool, key) <= one.time.clocks.boot() - now for key in running)

    await heartbeat(world, *running)
    await eventually(there)


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_executor_with_a_wrong_clock_lets_nothing_run_twice_on_a_target(world: World, wrong: float) -> None:
    await world.executor(sweep=1000.0)
    first = await world.ask("service_restart", **RESTART)
    second = await world.ask("service_restart", **RESTART)
    work = await world.work(first.operation_id or "")
    held = await world.hands.claim(work)
    host = ClockedHost(wall=wrong, stands=True)
    one = await world.executor(sweep=1000.0, clocks=host.clocks)
    await heard(world, one, work.operation_id)
    await rounds(one)
    await passed(one, host, 300.0, each=lambda: heard(world, one, work.operation_id))
    assert (await world.life(work.operation_id)).state == "started"
    assert (await world.life(second.operation_id or "")).state == "requested"
    await world.hands.finish(work, held)
    assert (await world.work(second.operation_id or "")).attempt == 1


@pytest.mark.parametrize("step", WRONG)
async def test_a_step_of_an_executors_clock_ends_nothing_and_keeps_nothing_from_ending(
    world: World, step: float
) -> None:
    host = ClockedHost(stands=True)
    one = await world.executor(sweep=1000.0, lease=LEASE, clocks=host.clocks)
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    await world.hands.claim(work)
    await heard(world, one, work.operation_id)
    await rounds(one)
    host.step(step)
    await rounds(one)
    assert (await world.life(work.operation_id)).state == "started"
    await passed(one, host, 2 * LEASE + 5.0 + 5.0)  # timeout, kill's grace, and the lease of a silent agent
    assert (await world.life(work.operation_id)).outcome == "unknown"


@pytest.mark.parametrize("wrong", WRONG)
async def test_dispatch_by_one_clock_is_not_expired_by_another(world: World, wrong: float) -> None:
    stop_server_clock(world)
    await world.executor(sweep=1000.0)
    answer = await world.ask("service_status", **READ)
    host = ClockedHost(wall=wrong, stands=True)
    one = await world.executor(sweep=1000.0, clocks=host.clocks)
    await rounds(one)
    await passed(one, host, 59.0)
    assert (await world.life(answer.operation_id or "")).state == "dispatched"
    await passed(one, host, 2.0)
    assert (await world.life(answer.operation_id or "")).outcome == "expired"


@pytest.mark.parametrize("wrong", some(WRONG, 600.0, -HOUR))
async def test_a_long_window_runs_on_the_journals_clock_through_a_new_replica(world: World, wrong: float) -> None:
    """45 minutes after the request a new replica leaves it a quarter of an hour of its hour."""
    stop_server_clock(world)
    await world.executor(sweep=1000.0)
    first = await world.ask("service_restart", **RESTART)
    await world.hands.claim(await world.work(first.operation_id or ""))
    second = await world.ask("service_restart", **RESTART)
    stop_server_clock(world, 2_700.0)
    host = ClockedHost(wall=wrong, stands=True)
    one = await world.executor(sweep=20.0, clocks=host.clocks)
    await rounds(one)
    names_it = lambda: heard(world, one, first.operation_id or "")  # noqa: E731
    await passed(one, host, 880.0, each=names_it)
    assert (await world.life(second.operation_id or "")).state == "requested"
    await passed(one, host, 30.0, each=names_it)
    end = (await world.life(second.operation_id or "")).end
    assert isinstance(end, Finished)
    assert (end.outcome, end.code) == ("expired", "not_claimed")


@pytest.mark.parametrize("step", WRONG)
async def test_a_step_of_the_servers_clock_moves_no_deadline_that_is_being_counted(world: World, step: float) -> None:
    host = ClockedHost()
    one = await world.executor(sweep=1000.0, clocks=host.clocks)
    first = await world.ask("service_restart", **RESTART)
    work = await world.work(first.operation_id or "")
    await world.hands.claim(work)
    second = await world.ask("service_restart", **RESTART)
    await heard(world, one, work.operation_id)
    await rounds(one)
    real = world.broker.disk.clock
    world.broker.disk.clock = lambda: real() + step
    await one.time.measure()
    await rounds(one)
    assert (await world.life(work.operation_id)).state == "started"
    assert (await world.life(second.operation_id or "")).state == "requested"


@pytest.mark.parametrize("slept", [60.0, 600.0, DAY])
async def test_after_suspend_every_agent_has_a_lease_for_a_heartbeat(world: World, slept: float) -> None:
    """The whole host slept, with the agent and its operation: the deadline is long past at the wake-up."""
    host = ClockedHost(stands=True)
    one = await world.executor(sweep=1000.0, lease=LEASE, clocks=host.clocks)
    first = await world.ask("service_restart", **RESTART)
    work = await world.work(first.operation_id or "")
    held = await world.hands.claim(work)
    second = await world.ask("service_restart", **RESTART)
    await heard(world, one, work.operation_id)
    await rounds(one)
    host.suspend(slept)
    await rounds(one)
    assert (await world.life(work.operation_id)).state == "started"
    await heard(world, one, work.operation_id)
    await passed(one, host, 60.0, each=lambda: heard(world, one, work.operation_id))
    assert (await world.life(work.operation_id)).state == "started"
    assert "dispatched" not in await world.kinds(second.operation_id or "")
    await world.hands.finish(work, held)
    assert await world.outcome(work.operation_id) == "succeeded"


async def test_after_suspend_what_nobody_names_within_a_lease_is_lost(world: World) -> None:
    host = ClockedHost(stands=True)
    one = await world.executor(sweep=1000.0, lease=LEASE, clocks=host.clocks)
    answer = await world.ask("service_restart", **RESTART)
    await world.hands.claim(await world.work(answer.operation_id or ""))
    await rounds(one)
    host.suspend(DAY)
    await rounds(one)
    await passed(one, host, LEASE + 1.0)
    assert (await world.life(answer.operation_id or "")).outcome == "unknown"


@pytest.mark.parametrize("rate", [0.9, 1.1])
async def test_a_clock_that_drifts_shows_and_decides_nothing(world: World, rate: float) -> None:
    host = ClockedHost(stands=True)
    one = await world.executor(sweep=1000.0, clocks=host.clocks)
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    await world.hands.claim(work)
    await heard(world, one, work.operation_id)
    for _ in range(20):
        host.step(LONG * (rate - 1))
        await passed(one, host, LONG, each=lambda: heard(world, one, work.operation_id))
    assert (await world.life(work.operation_id)).state == "started"


@pytest.mark.parametrize("wrong", WRONG)
async def test_events_show_the_servers_time_whatever_the_hosts_own_clock_shows(world: World, wrong: float) -> None:
    await world.executor(sweep=1000.0, clocks=ClockedHost(wall=wrong).clocks)
    answer = await world.ask("service_restart", **RESTART)
    life = await world.accepted(answer.operation_id)
    assert abs(life.requested.at - life.first_time) < 2.0


async def test_clock_skew_is_reported(world: World) -> None:
    host = ClockedHost()
    one = await world.executor(sweep=1000.0, clocks=host.clocks)
    check = one.checks()["clock"]
    assert isinstance(await check(), Detail)
    for wrong, word in ((2.5, "ahead of"), (-2.5, "behind"), (DAY, "ahead of")):
        host.wall = wrong
        problem = await check()
        assert isinstance(problem, Attention)  # it decides nothing by that clock, and goes on
        assert word in problem


async def test_agents_with_a_wrong_clock_are_named(world: World) -> None:
    one = await world.executor(sweep=1000.0)
    check = one.checks()["agent_clocks"]
    await heartbeat(world)
    assert await check() is None
    await heartbeat(world, skew=120.0)

    async def problem() -> str | None:
        return await check()

    found = await eventually(problem)
    assert world.hands.instance in found
    assert "2 min 0 s ahead of" in found


async def test_agents_with_another_build_of_a_plugin_are_named(world: World) -> None:
    [plugin] = load_catalogue().plugins
    world.catalogue = Catalogue(world.catalogue.values(), plugins=[plugin])
    one = await world.executor(sweep=1000.0)
    check = one.checks()["agent_plugins"]
    await heartbeat(world, plugins={plugin.name: plugin.digest, "writ-others": "0" * 64})
    assert await check() is None
    await heartbeat(world, plugins={plugin.name: "0" * 64})

    async def problem() -> str | None:
        return await check()

    found = await eventually(problem)
    assert f"{world.hands.instance} ({plugin.name})" in found


async def test_agents_of_another_level_of_messages_are_named(world: World) -> None:
    one = await world.executor(sweep=1000.0)
    check = one.checks()["levels"]
    await heartbeat(world, level=LEVEL)
    assert await check() is None
    await heartbeat(world, level=LEVEL + 1)

    async def problem() -> str | None:
        return await check()

    assert f"{world.hands.instance} ({LEVEL + 1})" in await eventually(problem)


async def test_an_executor_without_the_servers_time_reports_it_and_is_not_ready(world: World) -> None:
    one = await world.executor(sweep=1000.0)
    one.time._measured = None
    problem = await one.checks()["clock"]()
    assert problem
    assert not isinstance(problem, Attention)
    assert "not known" in problem
