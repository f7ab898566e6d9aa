"""A stop while the engine carries out a request, which it does also where its client has left: the outcome is true."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from msgspec.structs import replace
from tests.agent_docker.crash_cases import CASES, FORMER, OPERATION, prepared
from tests.agent_docker.engine_host import EngineHost

from writ_agent.backends.port import Task, TaskResult
from writ_containers.backups import operations as backups
from writ_containers.backups.quiet_container import quiet
from writ_containers.backups.repository import BackupPart
from writ_containers.containers import container_replace
from writ_containers.containers.container_replace import names_for
from writ_containers.containers.container_view import OPERATION_LABEL
from writ_containers.engine import whole_requests
from writ_contracts.errors import TimedOut, WritError
from writ_testing.eventually import eventually
from writ_testing.fakes.docker_engine import EngineFault

MOMENT = 0.5
"""Seconds in which a stopped operation ends that does not wait for the engine's reply."""
UPDATE = {"create": 1, "first rename": 3, "second rename": 4, "start": 5}
"""The number of the changing request."""


async def stopped_at(host: EngineHost, task: Task, request: int) -> TaskResult:
    """Stop the operation while the engine has this request, which it carries out a moment later."""
    task = replace(task, baseline=await host.backend.baseline(task))
    host.engine.breaks = (request, "late")
    running = asyncio.create_task(host.backend.run(task, print))
    await asyncio.wait_for(host.engine.broken.wait(), 20)
    stopping = asyncio.create_task(host.backend.stop(OPERATION, 5.0))
    await asyncio.wait({running}, timeout=MOMENT)
    host.engine.go_on.set()
    assert await asyncio.wait_for(stopping, 20)
    return await running


def update_of(host: EngineHost) -> Task:
    return host.task("container_update", OPERATION, container_name="web", image="box:1", recreate=True)


def names(host: EngineHost) -> list[str]:
    return [one["Name"] for one in host.engine.containers.values()]


@pytest.mark.parametrize("operation", ["container_start", "container_delete", "snapshot_create"])
async def test_change_that_the_engine_goes_on_with_is_not_over(host: EngineHost, operation: str) -> None:
    host.engine.put("web")
    parameters: dict[str, Any] = {"snapshot_name": "s"} if operation == "snapshot_create" else {}
    task = host.task(operation, OPERATION, container_name="web", **parameters)
    task = replace(task, baseline=await host.backend.baseline(task))
    host.engine.breaks = (1, "late")
    running = asyncio.create_task(host.backend.run(task, print))
    await asyncio.wait_for(host.engine.broken.wait(), 20)
    assert not await host.backend.stop(OPERATION, 5.0)
    host.engine.go_on.set()
    assert ((await running).outcome, (await running).over) == ("unknown", False)


async def test_start_that_is_stopped_while_the_engine_starts_it_waits_for_the_reply(host: EngineHost) -> None:
    host.engine.put("web")
    done = await stopped_at(host, host.task("container_start", OPERATION, container_name="web"), 1)
    assert (done.outcome, done.over, (host.engine.named("web") or {})["State"]["Running"]) == ("unknown", True, True)


async def test_start_that_the_engine_refuses_after_a_stop_is_over(host: EngineHost) -> None:
    host.engine.put("web")
    task = host.task("container_start", OPERATION, container_name="web")
    task = replace(task, baseline=await host.backend.baseline(task))
    host.engine.fail("POST", "/start$", 500)
    host.engine.delay = 0.7
    running = asyncio.create_task(host.backend.run(task, print))

    async def sent() -> bool:
        return bool(host.engine.changes)

    await eventually(sent)
    host.engine.delay = 0.0
    assert await host.backend.stop(OPERATION, 5.0)
    done = await running
    assert (done.outcome, done.effect, done.over) == ("cancelled", "none", True)
    assert "a made-up failure" in done.message


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "delete"])
async def test_change_that_is_stopped_before_its_request_is_cancelled(host: EngineHost, verb: str) -> None:
    host.engine.put("web", running=verb != "start")
    task = host.task(
        f"container_{verb}", OPERATION, container_name="web", **({"force": True} if verb == "delete" else {})
    )
    task = replace(task, baseline=await host.backend.baseline(task))
    reads = len(host.engine.requests)
    host.engine.fail("GET", "/web/json$", "hang")

    async def read() -> bool:
        return len(host.engine.requests) > reads

    running = asyncio.create_task(host.backend.run(task, print))
    await eventually(read)
    assert await host.backend.stop(OPERATION, 5.0)
    assert ((await running).outcome, host.engine.changes) == ("cancelled", [])


async def test_create_that_is_stopped_while_the_engine_creates_leaves_no_container(host: EngineHost) -> None:
    done = await stopped_at(host, host.change(OPERATION), 1)
    assert (done.outcome, names(host)) == ("cancelled", [])


async def test_create_that_is_stopped_while_the_engine_refuses_it_is_cancelled(host: EngineHost) -> None:
    task = host.task("container_create", OPERATION, container_name="new", image="box:1")
    host.engine.put("taken", running=True)
    task = replace(task, parameters={**task.parameters, "container_name": "taken"})
    done = await stopped_at(host, task, 1)
    assert (done.outcome, names(host)) == ("cancelled", ["/taken"])


async def test_create_whose_reply_was_lost_is_unknown_after_a_stop(host: EngineHost) -> None:
    host.engine.breaks = (1, "cut")
    running = asyncio.create_task(host.backend.run(host.change(OPERATION), print))
    await asyncio.wait_for(host.engine.broken.wait(), 20)
    await asyncio.wait({running}, timeout=MOMENT)
    await host.backend.stop(OPERATION, 5.0)
    assert ((await running).outcome, (await running).over) == ("unknown", False)


async def test_stopped_create_is_removed_by_an_engine_that_is_slow(host: EngineHost) -> None:
    host.engine.delay = 0.4
    done = await stopped_at(host, host.change(OPERATION), 2)
    assert (done.outcome, names(host)) == ("cancelled", [])


async def test_stopped_create_that_cannot_be_removed_in_time_says_where_to_look(host: EngineHost) -> None:
    host.engine.fail("GET", "/containers/json", "hang")
    host.engine.breaks = (2, "hang")
    running = asyncio.create_task(host.backend.run(host.change(OPERATION), print))
    await asyncio.wait_for(host.engine.broken.wait(), 20)
    assert not await host.backend.stop(OPERATION, 5.0)
    done = await running
    assert (done.outcome, done.over) == ("unknown", False)
    assert f"label={OPERATION_LABEL}={OPERATION}" in done.message


@pytest.mark.parametrize("case", ["update", "restore"])
async def test_stopped_replacement_is_not_over_while_the_engine_may_still_create(host: EngineHost, case: str) -> None:
    task = await prepared(host, CASES[case])
    host.engine.breaks = (1, "hang")
    running = asyncio.create_task(host.backend.run(task, print))
    await asyncio.wait_for(host.engine.broken.wait(), 20)
    await host.backend.stop(OPERATION, 5.0)
    done = await running
    assert (done.outcome, done.over) == ("unknown", False)
    assert names_for("web", OPERATION).new in done.message


async def test_stopped_restore_of_a_snapshot_is_not_over_while_the_engine_may_still_create(host: EngineHost) -> None:
    host.engine.put("web", running=True)
    names: dict[str, Any] = {"container_name": "web", "snapshot_name": "s"}
    assert (await host.run("snapshot_create", FORMER, **names)).outcome == "succeeded"
    host.engine.requests.clear()
    task = host.task("snapshot_restore", OPERATION, **names)
    task = replace(task, baseline=await host.backend.baseline(task))
    host.engine.breaks = (1, "hang")
    running = asyncio.create_task(host.backend.run(task, print))
    await asyncio.wait_for(host.engine.broken.wait(), 20)
    await host.backend.stop(OPERATION, 5.0)
    assert ((await running).outcome, (await running).over) == ("unknown", False)


async def test_stopped_update_is_not_over_while_the_engine_may_have_a_request_of_its_way_back(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_replace, "CANCEL_SECONDS", 0.2)
    host.engine.put("web", running=True)
    host.engine.after_change.append(EngineFault("POST", "/start$", "hang"))
    host.engine.breaks = (UPDATE["first rename"], "act_and_hang")
    task = update_of(host)
    monkeypatch.setattr(whole_requests, "REPLY_SECONDS", 0.2)
    running = asyncio.create_task(host.backend.run(task, print))
    await asyncio.wait_for(host.engine.broken.wait(), 20)
    await host.backend.stop(OPERATION, 5.0)
    done = await running
    assert (done.outcome, done.over) == ("unknown", False)


async def test_stopped_update_is_unknown_while_the_engine_may_still_rename_the_former_container(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_requests, "REPLY_SECONDS", 0.2)
    host.engine.put("web", running=True)
    task = update_of(host)
    host.engine.breaks = (UPDATE["first rename"], "late")
    running = asyncio.create_task(host.backend.run(task, print))
    await asyncio.wait_for(host.engine.broken.wait(), 20)
    await host.backend.stop(OPERATION, 5.0)
    host.engine.go_on.set()
    done = await running
    assert (done.outcome, done.over) == ("unknown", False)


@pytest.mark.parametrize("step", UPDATE)
async def test_update_that_is_stopped_at_a_step_leaves_the_former_container(host: EngineHost, step: str) -> None:
    former = host.engine.put("web", running=True)
    done = await stopped_at(host, update_of(host), UPDATE[step])
    [left] = host.engine.containers.values()
    assert (done.outcome, left["Id"], left["Name"]) == ("cancelled", former["Id"], "/web")
    assert left["State"]["Running"]


async def test_update_that_is_stopped_while_the_former_container_is_removed_has_succeeded(host: EngineHost) -> None:
    former = host.engine.put("web", running=True)
    done = await stopped_at(host, update_of(host), 6)
    [left] = host.engine.containers.values()
    assert (done.outcome, left["Name"], left["State"]["Running"]) == ("succeeded", "/web", True)
    assert left["Id"] != former["Id"]


async def test_backup_that_is_stopped_at_its_pause_leaves_the_container_running(host: EngineHost) -> None:
    web = host.engine.put("web", running=True)
    async with host.backend._engines.engine(host.target) as engine:
        host.engine.breaks = (1, "late")

        async def backs_up() -> None:
            async with quiet(engine, web, "pause"):
                raise AssertionError

        running = asyncio.create_task(backs_up())
        await asyncio.wait_for(host.engine.broken.wait(), 20)
        running.cancel()
        await asyncio.wait({running}, timeout=MOMENT)
        host.engine.go_on.set()
        await asyncio.wait({running}, timeout=20)
        assert (await engine.inspect(web["Id"]))["State"]["Status"] == "running"


@pytest.mark.parametrize("ends", ["by a stop", "without a reply"])
async def test_backup_whose_pause_comes_late_leaves_the_container_running(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setattr(whole_requests, "REPLY_SECONDS", 0.2)
    web = host.engine.put("web", running=True)
    async with host.backend._engines.engine(host.target) as engine:
        host.engine.breaks = (1, "late")

        async def backs_up() -> None:
            async with quiet(engine, web, "pause"):
                raise AssertionError

        running = asyncio.create_task(backs_up())
        await asyncio.wait_for(host.engine.broken.wait(), 20)
        if ends == "by a stop":
            running.cancel()
        reads = f"GET /containers/{web['Id']}/json"

        async def looked() -> bool:
            return reads in host.engine.requests

        await eventually(looked)
        host.engine.go_on.set()
        with pytest.raises((asyncio.CancelledError, TimedOut)):
            await asyncio.wait_for(running, 20)
        assert (await engine.inspect(web["Id"]))["State"]["Status"] == "running"
        assert host.engine.changes == [f"POST /containers/{web['Id']}/{one}" for one in ("pause", "unpause")]


async def test_backup_whose_stop_is_refused_does_not_kill_the_container(host: EngineHost) -> None:
    web = host.engine.put("web", running=True)
    host.engine.fail("POST", "/stop$", 500)
    async with host.backend._engines.engine(host.target) as engine:
        with pytest.raises(WritError, match="a made-up failure"):
            async with quiet(engine, web, "stop"):
                raise AssertionError
    assert host.engine.changes == [f"POST /containers/{web['Id']}/{one}" for one in ("stop", "start")]


class SlowRepository:
    """It waits at one of its reads until it is stopped, and has the parts that are stored."""

    def __init__(self, waits_at: int) -> None:
        self.stored, self.reads, self.waits_at = list[BackupPart](), 0, waits_at
        self.reached = asyncio.Event()

    async def parts(self) -> list[BackupPart]:
        self.reads += 1
        if self.reads == self.waits_at:
            self.reached.set()
            await asyncio.get_running_loop().create_future()
        return self.stored

    async def store(self, tags: Mapping[str, str], name: str, stream: AsyncIterator[bytes], *, full: bool) -> None:
        self.stored.append(
            BackupPart(
                reference="1",
                backup_id=tags["writ-id"],
                operation_id=tags["writ-op"],
                container=tags["writ-container"],
                path=tags["writ-path"],
                number=1,
                of=1,
                created_at=1.0,
                size=None,
            )
        )

    async def forget(self, parts: list[BackupPart]) -> None:
        self.stored = [one for one in self.stored if one not in parts]


@pytest.mark.parametrize("read", [1, 2], ids=["before it begins", "once all is stored"])
async def test_backup_that_is_stopped_while_it_reads_the_repository_is_cancelled(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch, read: int
) -> None:
    repository = SlowRepository(read)
    monkeypatch.setattr(backups, "repository_of", lambda *_: repository)
    host.engine.put("web", running=True, HostConfig={"Mounts": [{"Type": "volume", "Source": "d", "Target": "/d"}]})
    task = host.task("backup_create", OPERATION, container_name="web", backup_id="now")
    running = asyncio.create_task(host.backend.run(task, print))
    await asyncio.wait_for(repository.reached.wait(), 20)
    assert await host.backend.stop(OPERATION, 5.0)
    assert ((await running).outcome, repository.stored) == ("cancelled", [])
