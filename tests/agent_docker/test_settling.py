"""A container that ends, or is started again, just after an agent read it as running, is not up."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.agent_docker.engine_host import EngineHost

from writ_agent.backends.port import Task
from writ_containers.containers.health_wait import SteadyStarts
from writ_containers.engine.api import Engine
from writ_containers.stacks import stack_baseline
from writ_containers.stacks.stack_baseline import StackParts
from writ_testing.fakes.docker_engine import EngineFault

ID = "a" * 26
TWO = "services: {web: {image: 'box:1'}, db: {image: 'box:1'}}"


def change_after_reads(monkeypatch: pytest.MonkeyPatch, host: EngineHost, states: list[dict[str, Any]]) -> None:
    """Change the state of the stack's service `web` after each read of it by the agent."""
    read = stack_baseline.stack_parts

    async def then_change(engine: Engine, task: Task) -> StackParts:
        parts = await read(engine, task)
        web = host.engine.named("shop-web-1")
        if web is not None and states:
            web["State"] |= states.pop(0)
        return parts

    monkeypatch.setattr(stack_baseline, "stack_parts", then_change)


async def test_service_that_ends_just_after_it_ran_is_not_up(host: EngineHost, monkeypatch: pytest.MonkeyPatch) -> None:
    change_after_reads(monkeypatch, host, [{"Status": "exited", "Running": False, "ExitCode": 3}])
    done = await host.run("stack_deploy", ID, stack_name="shop", compose=TWO)
    assert (done.outcome, done.code) == ("failed", "stack_not_up")
    assert "up: db; not up: web (exited with 3)" in done.message


async def test_service_that_is_started_again_has_to_stay_up_from_then_on(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, Any]] = [{"StartedAt": f"2026-01-02T00:00:0{number}Z"} for number in range(4)]
    change_after_reads(monkeypatch, host, states)
    done = await host.run("stack_deploy", ID, stack_name="shop", compose=TWO)
    assert (done.outcome, states) == ("succeeded", [])


async def test_stack_whose_service_is_started_again_until_time_is_over_is_not_up(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, Any]] = [{"StartedAt": f"2026-01-02T00:00:{number}Z"} for number in range(10, 60)]
    change_after_reads(monkeypatch, host, states)
    done = await host.backend.run(host.task("stack_deploy", ID, 3.0, stack_name="shop", compose=TWO), print)
    assert (done.outcome, done.code, done.effect) == ("failed", "stack_not_up", "done")
    assert "did not run for 0.4 s without a restart in time" in done.message
    assert states


async def test_service_that_ends_with_status_0_and_no_restart_is_up(host: EngineHost) -> None:
    host.engine.exits = 0
    done = await host.run("stack_deploy", ID, stack_name="shop", compose=TWO)
    assert done.outcome == "succeeded"


async def test_deploy_that_the_engine_refuses_has_its_reason(host: EngineHost) -> None:
    reason = 'invalid mount config for type "bind": bind source path does not exist: /srv/gone'
    host.engine.fail("POST", "/containers/create", 400, times=9, message=reason)
    done = await host.run("stack_deploy", ID, stack_name="shop", compose=TWO)
    assert (done.outcome, done.code) == ("failed", "stack_not_up")
    assert f"{reason}); up: nothing; not up: db (absent), web (absent)" in done.message


def test_steady_time_begins_anew_with_each_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    monkeypatch.setattr("writ_containers.containers.health_wait.time.monotonic", lambda: now)
    starts, first = SteadyStarts(), {"Id": "a", "State": {"StartedAt": "1"}}
    other = {"Id": "b", "State": {"StartedAt": "1"}}
    assert starts.seconds([first, other]) == 0.0
    now = 11.0
    assert starts.seconds([other, first]) == 1.0
    assert starts.seconds([{"Id": "a", "State": {"StartedAt": "2"}}, other]) == 0.0
    now = 12.0
    assert starts.seconds([first]) == 0.0


CREATED = {"container_name": "web", "image": "box:1"}
INSPECT = "/containers/[^/]+/json$"


@pytest.mark.parametrize("kind", ["cut", "hang", 500, "garble"])
@pytest.mark.parametrize("start", [True, False])
async def test_created_container_stays_although_reads_after_its_start_fail(
    host: EngineHost, kind: Any, start: bool
) -> None:
    host.engine.after_change = [EngineFault("GET", INSPECT, kind, times=3)]
    done = await host.run("container_create", ID, start=start, **CREATED)
    assert (done.outcome, done.effect) == ("succeeded", "done")
    web = host.engine.named("web")
    assert web is not None
    assert web["State"]["Running"] is start


@pytest.mark.parametrize("running", [True, False])
async def test_updated_container_stays_although_reads_after_its_start_fail(host: EngineHost, running: bool) -> None:
    host.engine.add_image("box:2")
    host.engine.put("web", running=running)
    task = host.task("container_update", ID, 20.0, container_name="web", image="box:2")
    task = replace(task, baseline=await host.backend.baseline(task))
    host.engine.after_change = [EngineFault("GET", INSPECT, "cut", times=3)]
    done = await host.backend.run(task, print)
    assert done.outcome == "succeeded"
    web = host.engine.named("web")
    assert web is not None
    assert (web["Config"]["Image"], web["State"]["Running"]) == ("box:2", running)


async def test_container_that_cannot_be_read_until_time_is_over_is_removed_again(host: EngineHost) -> None:
    host.engine.after_change = [EngineFault("GET", INSPECT, 500, times=1_000)]
    done = await host.backend.run(host.task("container_create", ID, 2.0, **CREATED), print)
    assert (done.outcome, done.code, host.engine.named("web")) == ("failed", "engine_failed", None)


async def test_read_that_the_engine_refuses_is_not_repeated(host: EngineHost) -> None:
    refused = EngineFault("GET", INSPECT, 403, times=1_000)
    host.engine.after_change = [refused]
    done = await host.run("container_create", ID, **CREATED)
    assert (done.outcome, done.code, refused.times) == ("failed", "engine_refused", 999)
