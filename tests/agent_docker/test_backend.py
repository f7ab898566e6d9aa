"""The Docker backend on a fake engine: the suite of backends, and each fault of an engine."""

import asyncio
import gc
import os

import pytest
from msgspec.structs import replace
from tests.agent_docker.engine_host import EngineHost

from writ_agent.backends import connection_retries
from writ_contracts.errors import Unreachable, WritError
from writ_contracts.ids import encode_id
from writ_testing.eventually import eventually
from writ_testing.fakes.docker_engine import EngineFault, Kind
from writ_testing.suites.backend import BackendSuite

ID = encode_id(os.urandom(16))


class TestDockerBackend(BackendSuite):
    """The suite on a fake engine."""


VERBS = ("start", "stop", "restart", "delete")


def prepared(host: EngineHost, verb: str) -> dict[str, str]:
    host.engine.put("web", running=verb in ("stop", "restart"))
    return {"container_name": "web"}


def call(verb: str) -> tuple[str, str]:
    return ("DELETE", "/containers/[^/]+$") if verb == "delete" else ("POST", f"/{verb}$")


@pytest.mark.parametrize("verb", VERBS)
async def test_lost_reply_after_the_effect_is_settled_by_the_state_of_the_container(
    host: EngineHost, verb: str
) -> None:
    parameters = prepared(host, verb)
    host.engine.fail(*call(verb), "act_and_cut")
    done = await host.run(f"container_{verb}", ID, **parameters)
    assert (done.outcome, done.effect) == ("succeeded", "done")


async def test_an_answer_that_is_lost_without_an_effect_is_a_failure_once_the_engine_had_its_time(
    host: EngineHost,
) -> None:
    parameters = prepared(host, "start")
    host.engine.fail("POST", "/start$", "cut")
    done = await host.run("container_start", ID, **parameters)
    assert (done.outcome, done.code, done.effect) == ("failed", "connection_lost", "none")


async def test_an_engine_that_dies_in_the_middle_leaves_a_change_unknown(host: EngineHost) -> None:
    parameters = prepared(host, "restart")
    host.engine.fail("POST", "/restart$", "hang")
    running = asyncio.create_task(host.run("container_restart", ID, timeout=6, **parameters))
    await wait_for_call(host, "restart")
    await host.engine.stop()
    done = await running
    assert (done.outcome, done.code, done.effect) == ("unknown", "connection_lost", "maybe")


async def test_an_engine_that_restarts_in_the_middle_gets_the_request_again(host: EngineHost) -> None:
    parameters = prepared(host, "restart")
    host.engine.fail("POST", "/restart$", "act_and_hang")
    running = asyncio.create_task(host.run("container_restart", ID, **parameters))
    await wait_for_call(host, "restart")
    await host.engine.stop()
    await host.engine.start()
    assert (await running).outcome == "succeeded"


@pytest.mark.parametrize("verb", VERBS)
async def test_a_read_that_fails_after_a_change_is_repeated(host: EngineHost, verb: str) -> None:
    parameters = prepared(host, verb)
    host.engine.after_change = [EngineFault("GET", "/json$", 500, times=3)]
    done = await host.run(f"container_{verb}", ID, **parameters)
    assert (done.outcome, done.effect, done.message) == ("succeeded", "done", "")
    assert len(host.engine.changes) == 1


@pytest.mark.parametrize("kind", [500, "hang"])
@pytest.mark.parametrize("verb", VERBS)
async def test_a_change_whose_result_cannot_be_read_is_no_refusal(
    host: EngineHost, verb: str, kind: Kind | int
) -> None:
    parameters = prepared(host, verb)
    host.engine.after_change = [EngineFault("GET", "/json$", kind, times=1000)]
    done = await host.run(f"container_{verb}", ID, timeout=2, **parameters)
    if verb in ("start", "restart"):
        expected, message = ("unknown", "maybe"), "the engine started it; it is not known whether it stays up: "
    else:
        expected, message = ("succeeded", "done"), "it was carried out, but the result could not be read: "
    assert (done.outcome, done.effect) == expected
    assert done.message.startswith(message)
    assert len(host.engine.changes) == 1


async def test_an_image_that_cannot_be_read_after_its_pull_is_no_refusal(host: EngineHost) -> None:
    host.engine.pullable.add("new:1")
    host.engine.after_change = [EngineFault("GET", "/json$", 500, times=1000)]
    done = await host.run("image_pull", ID, image="new:1")
    assert (done.outcome, done.code, done.effect) == ("unknown", "engine_failed", "maybe")
    assert "new:1" in host.engine.images


@pytest.mark.parametrize("kind", [500, "hang"])
async def test_a_snapshot_that_cannot_be_read_after_its_change_is_no_refusal(
    host: EngineHost, kind: Kind | int
) -> None:
    host.engine.put("web", running=True)
    names = {"container_name": "web", "snapshot_name": "one"}
    host.engine.after_change = [EngineFault("GET", "/images/", kind, times=1000)]
    done = await host.run("snapshot_create", ID, **names)
    assert (done.outcome, done.effect) == ("unknown", "maybe")
    assert done.message.startswith("it was stored; the snapshots could not be read: ")
    host.engine.faults.clear()
    assert (await host.run("snapshot_list", "b" * 26, container_name="web")).output["snapshots"]
    host.engine.fail("DELETE", "/images/", "act_and_cut")
    done = await host.run("snapshot_delete", "c" * 26, **names)
    host.engine.faults.clear()
    assert (done.outcome, done.effect) == ("unknown", "maybe"), done
    assert not (await host.run("snapshot_list", "d" * 26, container_name="web")).output["snapshots"]


@pytest.mark.parametrize(("kind", "outcome"), [("act_and_cut", "succeeded"), ("cut", "unknown")])
async def test_deletion_of_a_snapshot_with_a_lost_reply_is_read_from_the_engine(
    host: EngineHost, kind: Kind, outcome: str
) -> None:
    host.engine.put("web", running=True)
    names = {"container_name": "web", "snapshot_name": "one"}
    assert (await host.run("snapshot_create", ID, **names)).outcome == "succeeded"
    host.engine.fail("DELETE", "/images/", kind, times=10)
    assert (await host.run("snapshot_delete", "c" * 26, **names)).outcome == outcome


async def test_a_container_that_the_engine_removes_when_it_ends_is_stopped(host: EngineHost) -> None:
    """As after `docker run --rm`."""
    host.engine.put("web", running=True, HostConfig={"AutoRemove": True})
    done = await host.run("container_stop", ID, container_name="web")
    assert (done.outcome, done.effect) == ("succeeded", "done")
    assert (done.output["state"], done.message) == ("removed", "it was stopped, and is removed")
    host.engine.put("task", HostConfig={"AutoRemove": True})
    host.engine.exits = 0
    done = await host.run("container_start", ID, container_name="task")
    assert (done.outcome, done.code, done.effect) == ("failed", "container_exited", "done")
    assert done.message == "the engine started it; it is removed since"
    assert host.engine.containers == {}


@pytest.mark.parametrize("status", [409, 500])
@pytest.mark.parametrize("verb", VERBS)
async def test_refusal_of_an_engine_has_no_effect_and_shows_the_reason(
    host: EngineHost, verb: str, status: int
) -> None:
    parameters = prepared(host, verb)
    host.engine.fail(*call(verb), status, message="driver failed\nprogramming \x1b[31m external connectivity")
    done = await host.run(f"container_{verb}", ID, **parameters)
    assert (done.outcome, done.effect) == ("failed", "none")
    assert done.message == "the engine answers: driver failed programming [31m external connectivity"


async def test_unreachable_engine_is_reported_without_effect(host: EngineHost) -> None:
    parameters = prepared(host, "start")
    await host.engine.stop()
    with pytest.raises(WritError) as refused:
        await host.run("container_start", ID, **parameters)
    assert refused.value.code == "unreachable"
    assert [standing.reason for _, standing in host.backend.target_health] == ["unreachable"]
    found = await host.backend.test_target(host.target)
    assert (found.code, [step.name for step in found.steps if not step.well]) == ("unreachable", ["connection"])


async def test_an_engine_out_of_reach_is_tried_again_before_a_claim_as_its_target_says(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_retries, "FIRST_PAUSE", 0.001)
    host.engine.put("web")
    await host.engine.stop()
    task = host.task("container_start", ID, container_name="web")
    with pytest.raises(Unreachable):
        await host.backend.baseline(task)
    patient = replace(task, target=replace(host.target, connection={**host.target.connection, "connect_retries": 100}))
    reads = [asyncio.create_task(read(patient)) for read in (host.backend.baseline, host.backend.preview)]
    listed = asyncio.create_task(host.backend.listing(patient.target, "list_containers"))
    inspection = replace(host.task("container_inspect", "b" * 26, container_name="web"), target=patient.target)
    inspected = asyncio.create_task(host.backend.run(inspection, print))
    with pytest.raises(Unreachable):  # after a claim there is one attempt at a change
        await asyncio.wait_for(host.backend.run(patient, print), 30.0)
    await host.engine.start()
    assert all(await asyncio.gather(*reads))
    assert (await inspected).outcome == "succeeded"
    assert await listed == ["web"]


@pytest.mark.parametrize("kind", ["hang", "cut_body", "half_close", "garble", "cut"])
async def test_a_read_that_gets_no_whole_answer_fails_within_its_bound(host: EngineHost, kind: str) -> None:
    parameters = prepared(host, "stop")
    host.engine.fail("GET", "/web/json$", kind)  # type: ignore[arg-type]
    if kind in ("half_close", "cut"):  # the answer is whole; a GET is sent again by aiohttp
        assert (await host.run("container_inspect", ID, **parameters)).outcome == "succeeded"
        return
    with pytest.raises(WritError) as refused:
        await host.run("container_inspect", ID, **parameters)
    assert refused.value.code in ("connection_lost", "garbled")
    gc.collect()  # a connection that is still open is reported here, as a warning


async def test_the_beginning_of_an_id_is_no_name(host: EngineHost) -> None:
    known = host.engine.put("web")
    for name in (known["Id"][:12], known["Id"]):
        with pytest.raises(WritError) as refused:
            await host.run("container_stop", ID, container_name=name)
        assert refused.value.code == "container_not_found"


async def test_another_container_of_the_same_name_is_left_alone(host: EngineHost) -> None:
    host.engine.put("web", running=True)
    task = host.task("container_stop", ID, container_name="web")
    before = await host.backend.baseline(task)
    host.engine.containers.clear()
    host.engine.put("web", running=True)
    with pytest.raises(WritError) as refused:
        await host.backend.run(replace(task, baseline=before), print)
    assert refused.value.code == "container_changed"
    assert not [line for line in host.engine.requests if line.startswith("POST")]


async def test_stop_of_a_stopped_container_has_no_effect(host: EngineHost) -> None:
    host.engine.put("web")
    done = await host.run("container_stop", ID, container_name="web")
    assert (done.outcome, done.effect) == ("succeeded", "none")
    assert not [line for line in host.engine.requests if line.startswith("POST")]


async def wait_for_call(host: EngineHost, verb: str) -> None:
    async def has_call() -> bool:
        return any(line.endswith(f"/{verb}") for line in host.engine.requests)

    await eventually(has_call)
