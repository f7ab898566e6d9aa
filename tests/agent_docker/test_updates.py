"""container_update and image_pull on a fake engine: settings, roll back, and each fault on the way."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from tests.agent_docker.engine_host import EngineHost

from writ_agent.backends.port import TaskResult
from writ_containers.containers.container_view import OPERATION_LABEL
from writ_contracts.errors import WritError
from writ_testing.eventually import eventually
from writ_testing.stopwatch import stopwatch

ID = "a" * 26
HALFWAY = ("/stop$", "/rename$", "/start$")


@pytest.fixture
def host(host: EngineHost) -> EngineHost:
    host.engine.add_image("box:2")
    return host


async def update(host: EngineHost, timeout: float = 20.0, **parameters: Any) -> TaskResult:
    """Run the update with the baseline known to policy."""
    task = host.task("container_update", ID, timeout, container_name="web", **{"image": "box:2", **parameters})
    task = replace(task, baseline=await host.backend.baseline(task))
    return await asyncio.wait_for(host.backend.run(task, print), 30.0)


def names(host: EngineHost) -> list[str]:
    return sorted(one["Name"] for one in host.engine.containers.values())


async def test_an_update_makes_the_container_again_from_the_new_image(host: EngineHost) -> None:
    former = host.engine.put("web", running=True, Env=["A=1"])
    done = await update(host)
    now = host.engine.named("web")
    assert (done.outcome, done.effect, names(host)) == ("succeeded", "done", ["/web"])
    assert now is not None
    assert (now["Config"]["Image"], now["Config"]["Env"], now["State"]["Running"]) == ("box:2", ["A=1"], True)
    assert done.output["former_image_digest"] == former["Image"]
    assert now["Config"]["Labels"][OPERATION_LABEL] == ID


async def test_an_update_to_the_image_that_it_has_does_nothing(host: EngineHost) -> None:
    former = host.engine.put("web", running=True)
    done = await update(host, image="box:1")
    assert (done.outcome, done.effect) == ("succeeded", "none")
    assert host.engine.named("web") == former
    assert (await update(host, image="box:1", recreate=True)).effect == "done"


async def test_a_stopped_container_stays_stopped(host: EngineHost) -> None:
    host.engine.put("web")
    assert (await update(host)).outcome == "succeeded"
    now = host.engine.named("web")
    assert now is not None
    assert (now["Config"]["Image"], now["State"]["Running"]) == ("box:2", False)


@pytest.mark.parametrize("fault", ["exits", "unhealthy"])
async def test_a_new_container_that_is_not_well_makes_place_for_the_former_one(host: EngineHost, fault: str) -> None:
    former = host.engine.put("web", running=True)["Id"]
    host.engine.ill = "box:2"
    host.engine.exits, host.engine.health = (3, "") if fault == "exits" else (None, "unhealthy")
    done = await update(host)
    assert (done.outcome, done.output["rolled_back"]) == ("failed", True)
    assert "the former container runs again" in done.message
    now = host.engine.named("web")
    assert now is not None
    assert (now["Id"], now["State"]["Running"], names(host)) == (former, True, ["/web"])


async def _is(so: bool) -> bool:
    return so


@pytest.mark.parametrize("path", HALFWAY)
async def test_a_step_that_fails_takes_the_update_back(host: EngineHost, path: str) -> None:
    former = host.engine.put("web", running=True)["Id"]
    host.engine.fail("POST", path, 500)
    done = await update(host)
    assert (done.outcome, done.code, done.output["rolled_back"]) == ("failed", "engine_failed", True)
    now = host.engine.named("web")
    assert now is not None
    assert (now["Id"], now["State"]["Running"], names(host)) == (former, True, ["/web"])


@pytest.mark.parametrize("path", ["/containers/create", *HALFWAY])
async def test_an_answer_that_is_lost_is_no_half_update(host: EngineHost, path: str) -> None:
    """It ends with one running container and a true outcome."""
    host.engine.put("web", running=True)
    host.engine.fail("POST", path, "act_and_cut")
    done = await update(host)
    now = host.engine.named("web")
    assert now is not None
    assert (names(host), now["State"]["Running"]) == (["/web"], True)
    assert now["Config"]["Image"] == ("box:2" if done.outcome == "succeeded" else "box:1")


async def test_stop_after_the_former_container_is_removed_leaves_the_new_one(host: EngineHost) -> None:
    host.engine.put("web", running=True)
    task = host.task("container_update", ID, container_name="web", image="box:2")
    task = replace(task, baseline=await host.backend.baseline(task))
    host.engine.fail("DELETE", "/containers/[^/]+$", "act_and_hang")
    running = asyncio.create_task(host.backend.run(task, print))
    await eventually(lambda: _is(any(one.startswith("DELETE") for one in host.engine.requests)))
    assert await host.backend.stop(ID, 3.0)
    assert (await running).outcome == "succeeded"
    assert (await host.backend.probe(task, task.baseline)).verdict == "took_effect"
    now = host.engine.named("web")
    assert now is not None
    assert (now["Config"]["Image"], now["State"]["Running"]) == ("box:2", True)


async def test_an_engine_that_dies_halfway_is_read_by_a_probe(host: EngineHost) -> None:
    host.engine.put("web", running=True)
    task = host.task("container_update", ID, 6.0, container_name="web", image="box:2")
    before = await host.backend.baseline(task)
    assert (await host.backend.probe(task, before)).verdict == "no_effect"
    host.engine.fail("POST", "/start$", "hang")
    running = asyncio.create_task(host.backend.run(replace(task, baseline=before), print))
    await eventually(lambda: _is(any("/start" in one for one in host.engine.requests)))
    await host.engine.stop()
    done = await running
    assert (done.outcome, done.effect, done.output["rolled_back"]) == ("unknown", "maybe", False)
    await host.engine.start()
    assert (await host.backend.probe(task, before)).verdict == "unknown"
    host.engine._run(host.engine.named("web") or {})
    assert (await host.backend.probe(task, before)).verdict == "took_effect"


@pytest.mark.parametrize("path", HALFWAY)
async def test_an_engine_that_restarts_midway_is_waited_for_and_the_former_container_put_back(
    host: EngineHost, path: str
) -> None:
    former = host.engine.put("web", running=True)["Id"]
    host.engine.fail("POST", path, "act_and_hang")
    running = asyncio.create_task(update(host))
    await eventually(lambda: _is(any(path.strip("$") in one for one in host.engine.requests)))
    await host.engine.stop()
    done, _ = await asyncio.wait({running}, timeout=1.0)  # a daemon needs a moment to start
    assert not done
    await host.engine.start()
    result = await running
    assert (result.outcome, result.code, result.output["rolled_back"]) == ("failed", "connection_lost", True)
    now = host.engine.named("web")
    assert now is not None
    assert (now["Id"], now["State"]["Running"], names(host)) == (former, True, ["/web"])


async def test_an_engine_that_stays_away_midway_is_waited_for_within_the_time_of_the_operation(
    host: EngineHost,
) -> None:
    host.engine.put("web", running=True)
    host.engine.fail("POST", "/start$", "hang")
    began = asyncio.get_running_loop().time()
    with stopwatch() as seconds:
        running = asyncio.create_task(update(host, timeout=4.0))
        await eventually(lambda: _is(any("/start" in one for one in host.engine.requests)))
        await host.engine.stop()
        done = await running
        assert seconds() < 4.0 + 2.0
    assert asyncio.get_running_loop().time() - began > 2.0
    assert (done.outcome, done.output["rolled_back"]) == ("unknown", False)
    assert "is not reachable" in done.message
    assert f"look for web.former-{ID[-10:]} and web.new-{ID[-10:]}" in done.message


async def test_rollback_that_the_engine_refuses_is_not_repeated(host: EngineHost) -> None:
    host.engine.put("web", running=True)
    host.engine.fail("POST", "/start$", 500)
    host.engine.fail("DELETE", "/containers/[^/]+$", 400, times=9, message="not this one")
    done = await update(host)
    assert (done.outcome, done.output["rolled_back"]) == ("unknown", False)
    assert "not this one" in done.message
    assert sum(one.startswith("DELETE") for one in host.engine.requests) == 1


async def test_a_stop_halfway_puts_the_former_container_back(host: EngineHost) -> None:
    former = host.engine.put("web", running=True)["Id"]
    task = host.task("container_update", ID, container_name="web", image="box:2")
    task = replace(task, baseline=await host.backend.baseline(task))
    host.engine.ill, host.engine.health = "box:2", "starting"
    running = asyncio.create_task(host.backend.run(task, print))
    await eventually(lambda: _is(any("/start" in one for one in host.engine.requests)))
    assert await host.backend.stop(ID, 2.0)
    assert (await running).outcome == "cancelled"
    assert (names(host), (host.engine.named("web") or {})["Id"]) == (["/web"], former)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"HostConfig": {"Privileged": True}}, "breakout_refused"),
        ({"HostConfig": {"AutoRemove": True}}, "auto_remove"),
        ({"Labels": {"com.docker.compose.project": "shop"}}, "belongs_to_stack"),
    ],
)
async def test_a_container_that_may_not_be_updated_is_left_alone(
    host: EngineHost, settings: dict[str, Any], code: str
) -> None:
    former = host.engine.put("web", running=True, **settings)
    with pytest.raises(WritError) as refused:
        await update(host)
    assert refused.value.code == code
    assert host.engine.named("web") == former


async def test_a_preview_names_each_call(host: EngineHost) -> None:
    former = host.engine.put("web", running=True)["Id"]
    host.engine.pullable.add("new:1")
    task = host.task("container_update", ID, container_name="web", image="new:1")
    assert (await host.backend.preview(task))["calls"] == [
        "POST /images/create?fromImage=new:1",
        f"POST /containers/create?name=web.new-{ID[-10:]}",
        f"POST /containers/{former}/stop",
        f"POST /containers/{former}/rename?name=web.former-{ID[-10:]}",
        "POST /containers/{id}/rename?name=web",
        "POST /containers/{id}/start",
        f"DELETE /containers/{former}",
    ]


async def test_pulled_image_is_distinguished_from_the_one_before(host: EngineHost) -> None:
    host.engine.pullable.add("new:1")
    task = host.task("image_pull", ID, image="new:1")
    before = await host.backend.baseline(task)
    assert (before, (await host.backend.probe(task, before)).verdict) == ({}, "no_effect")
    done = await host.backend.run(task, print)
    assert (done.outcome, done.output["changed"], done.effect) == ("succeeded", True, "done")
    assert (await host.backend.probe(task, before)).verdict == "took_effect"


async def test_a_pull_that_is_stopped_has_no_effect(host: EngineHost) -> None:
    running = asyncio.create_task(host.backend.run(host.task("image_pull", ID, image="slow:1"), print))
    await eventually(lambda: _is(host.engine.pulls == ["slow:1"]))
    assert await host.backend.stop(ID, 1.0)
    assert (await running).outcome == "cancelled"
    await eventually(lambda: _is(host.engine.pulls == []))


async def test_new_container_that_is_gone_at_its_removal_does_not_end_the_way_back(host: EngineHost) -> None:
    """aiohttp sends a DELETE with a lost reply again, and the engine then replies 404."""
    former = host.engine.put("web", running=True)["Id"]
    host.engine.fail("POST", "/start$", 500)
    host.engine.fail("DELETE", "/containers/[^/]+$", "act_and_cut")
    done = await update(host)
    assert (done.outcome, done.code, done.output["rolled_back"]) == ("failed", "engine_failed", True)
    now = host.engine.named("web")
    assert now is not None
    assert (now["Id"], now["State"]["Running"], names(host)) == (former, True, ["/web"])


async def test_former_container_that_is_gone_ends_the_way_back(host: EngineHost) -> None:
    former = host.engine.put("web", running=True)["Id"]
    host.engine.fail("POST", "/start$", 500)
    host.engine.fail("GET", f"/containers/{former}/json$", 404, times=9, message="no such container")
    done = await update(host)
    assert (done.outcome, done.output["rolled_back"]) == ("unknown", False)
    assert not any(one.startswith("DELETE") for one in host.engine.requests)


async def test_second_stop_does_not_interrupt_the_way_back(host: EngineHost) -> None:
    """An agent is stopped, and the operation's time ends meanwhile."""
    former = host.engine.put("web", running=True)
    host.engine.breaks = (2, "hang")
    updating = asyncio.create_task(update(host))
    await asyncio.wait_for(host.engine.broken.wait(), 20)
    host.engine.delay = 0.15
    requests = len(host.engine.requests)
    stops = [asyncio.create_task(host.backend.stop(ID, 5.0))]

    async def on_the_way_back() -> bool:
        return len(host.engine.requests) > requests

    await eventually(on_the_way_back)
    stops.append(asyncio.create_task(host.backend.stop(ID, 5.0)))
    done = await updating
    assert await asyncio.gather(*stops) == [True, True]
    assert (done.outcome, done.message) == ("cancelled", "the former container runs again")
    host.engine.end_stops(host.engine.containers)
    assert (names(host), host.engine.named("web")) == (["/web"], former)
    assert former["State"]["Running"]


async def test_stop_whose_reply_is_lost_is_ended_on_the_way_back(host: EngineHost) -> None:
    former = host.engine.put("web", running=True)
    host.engine.fail("POST", "/stop$", "cut")
    done = await update(host)
    assert (done.outcome, done.output["rolled_back"]) == ("failed", True), done
    host.engine.end_stops(host.engine.containers)
    assert former["State"]["Running"]


async def test_update_is_not_over_while_the_engine_goes_on_with_a_stop(host: EngineHost) -> None:
    host.engine.put("web", running=True)
    host.engine.fail("POST", "/stop$", "hang", times=9)
    updating = asyncio.create_task(update(host, 60.0))
    await eventually(lambda: _is(any("/stop" in one for one in host.engine.requests)))
    await host.backend.stop(ID, 5.0)
    done = await updating
    assert (done.outcome, done.effect, done.over) == ("unknown", "maybe", False), done
