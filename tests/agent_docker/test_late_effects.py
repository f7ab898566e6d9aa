"""An engine that hung carries out what it still has: no outcome says before that it had no effect."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
import pytest_asyncio
from msgspec.structs import replace
from tests.agent_docker.crash_cases import OPERATION
from tests.agent_docker.engine_host import EngineHost

from writ_agent.backends.port import Task
from writ_containers import container_operations
from writ_containers.backups import operations as backups
from writ_containers.backups.quiet_container import quiet
from writ_containers.containers import container_changes
from writ_containers.containers.container_replace import names_for
from writ_containers.engine.late_effects import observe_late
from writ_testing.eventually import eventually
from writ_testing.fakes.docker_engine import fake_engine


@pytest_asyncio.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    async with fake_engine(tmp_path / "engine.sock") as engine:
        made = EngineHost(tmp_path, engine)
        engine.put("web", running=True)
        try:
            yield made
        finally:
            await made.backend.close()


async def deletion(host: EngineHost) -> Task:
    asked = host.task("container_delete", OPERATION, container_name="web", force=True)
    return replace(asked, baseline=await host.backend.baseline(asked))


def looks(host: EngineHost) -> int:
    """Return how often the container was read."""
    return sum(one.startswith("GET /containers/") for one in host.engine.requests)


async def test_probe_waits_for_a_request_that_the_engine_still_carries_out(host: EngineHost) -> None:
    task = await deletion(host)
    host.engine.breaks = (1, "hang")
    killed = asyncio.create_task(host.backend.run(task, print))
    await asyncio.wait_for(host.engine.broken.wait(), 20)
    second, before = host.again(), looks(host)
    probing = asyncio.create_task(second.backend.probe(task, task.baseline))

    async def looked() -> bool:
        return looks(host) > before

    await eventually(looked, what="a look at the container")
    host.engine.containers.clear()  # the engine goes on
    assert (await asyncio.wait_for(probing, 30)).verdict == "took_effect"
    await second.backend.close()
    await host.backend.stop(OPERATION, 5.0)
    await asyncio.wait({killed}, timeout=20)


async def test_probe_is_unknown_while_its_time_is_too_short_to_be_certain(host: EngineHost) -> None:
    task = replace(await deletion(host), timeout=2.0)
    probed = await host.backend.probe(task, task.baseline)
    assert (probed.verdict, probed.observed["reason"]) == ("unknown", container_operations.STILL_POSSIBLE)


async def test_wait_that_is_longer_than_a_probe_goes_on_with_the_next(host: EngineHost) -> None:
    task = replace(await deletion(host), timeout=3.0)
    verdicts = [(await host.backend.probe(task, task.baseline)).verdict for _ in range(4)]
    assert verdicts[:2] == ["unknown", "unknown"]
    assert "no_effect" in verdicts
    await host.backend.run(task, print)
    host.engine.put("web", running=True)
    task = replace(await deletion(host), timeout=3.0)
    assert (await host.backend.probe(task, task.baseline)).verdict == "unknown"


async def test_new_attempt_begins_the_wait_anew(host: EngineHost) -> None:
    task = replace(await deletion(host), timeout=3.0)
    for attempt in range(4):
        task = replace(task, attempt=attempt)
        assert (await host.backend.probe(task, task.baseline)).verdict == "unknown"


async def test_probe_waits_no_longer_than_the_operation_gave_a_container_to_stop(host: EngineHost) -> None:
    host.engine.put("slow", running=True, StopTimeout=600)
    task = host.task("container_stop", OPERATION, container_name="slow", timeout=20.0)
    task = replace(task, parameters={**task.parameters, "timeout": 2}, baseline=await host.backend.baseline(task))
    assert (await asyncio.wait_for(host.backend.probe(task, task.baseline), 30)).verdict == "no_effect"


async def test_outcome_waits_for_a_request_that_a_slow_engine_still_carries_out(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends, and the engine answers for the first time once it could have carried the request out."""
    monkeypatch.setattr(container_changes, "CERTAIN_AFTER", 1.5)
    web = host.engine.named("web")
    assert web is not None
    web["State"] |= {"Running": False, "Status": "exited"}
    task = host.task("container_start", OPERATION, container_name="web")
    task = replace(task, baseline=await host.backend.baseline(task))
    host.engine.breaks = (1, "cut")
    running = asyncio.create_task(host.backend.run(task, print))
    await asyncio.wait_for(host.engine.broken.wait(), 20)
    host.engine.delay, before = 1.7, looks(host)

    async def looked(times: int) -> bool:
        return running.done() or looks(host) >= before + times

    await eventually(lambda: looked(1), what="a first look, whose answer is late")
    host.engine.delay = 0.0
    await eventually(lambda: looked(2), what="a second look")
    web["State"] |= {"Running": True, "Status": "running"}
    done = await asyncio.wait_for(running, 30)
    assert (done.outcome, done.effect) == ("succeeded", "done"), done


class CountedRepository:
    """It has no backup, and counts how often it is read."""

    reads = 0

    async def parts(self) -> list[object]:
        self.reads += 1
        return []


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> CountedRepository:
    made = CountedRepository()
    monkeypatch.setattr(backups, "repository_of", lambda *_: made)
    return made


async def test_probe_of_a_backup_reads_the_repository_once(host: EngineHost, repository: CountedRepository) -> None:
    task = host.task("backup_create", OPERATION, container_name="web", backup_id="now")
    probed = await asyncio.wait_for(host.backend.probe(task, {}), 30)
    assert (probed.verdict, repository.reads) == ("no_effect", 1)
    assert looks(host) > 1  # the engine may still pause it


async def test_probe_of_a_backup_that_asks_nothing_of_the_engine_ends_at_once(
    host: EngineHost, repository: CountedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = host.task("backup_create", OPERATION, timeout=2.0, container_name="web", backup_id="now", quiesce="none")
    assert (await host.backend.probe(task, {})).verdict == "no_effect"
    monkeypatch.setattr(backups, "_parts", AsyncMock(return_value=["a part"]))
    task = host.task("backup_delete", OPERATION, timeout=2.0, container_name="web", backup_id="now")
    assert (await host.backend.probe(task, {})).verdict == "no_effect"


async def test_a_look_that_takes_too_long_ends_with_the_time() -> None:
    async def look() -> bool:
        await asyncio.get_running_loop().create_future()
        return True

    async with asyncio.timeout(10):
        assert await observe_late(look, bool, 1.0, 0.0) == (None, False)


async def test_probe_of_a_backup_waits_for_the_stop_of_its_container(
    host: EngineHost, repository: CountedRepository
) -> None:
    task = host.task("backup_create", OPERATION, timeout=8.0, container_name="web", backup_id="now", quiesce="stop")
    assert (await asyncio.wait_for(host.backend.probe(task, {}), 30)).verdict == "unknown"


async def test_backup_that_is_stopped_during_its_stop_leaves_the_container_running(
    host: EngineHost, repository: CountedRepository
) -> None:
    host.engine.containers.clear()
    web = host.engine.put("web", running=True)
    async with host.backend._engines.engine(host.target) as engine:
        host.engine.breaks = (1, "hang")

        async def backs_up() -> None:
            async with quiet(engine, web, "stop"):
                raise AssertionError

        running = asyncio.create_task(backs_up())
        await asyncio.wait_for(host.engine.broken.wait(), 20)
        running.cancel()
        await asyncio.wait({running}, timeout=20)
    host.engine.end_stops(host.engine.containers)
    assert web["State"]["Running"]


@pytest.mark.parametrize(("before", "verdict"), [("running", "unknown"), ("paused", "no_effect")])
async def test_probe_of_a_snapshot_is_unknown_while_the_engine_commits(
    host: EngineHost, before: str, verdict: str
) -> None:
    task = host.task("snapshot_create", OPERATION, container_name="web", snapshot_name="one")
    baseline = {**await host.backend.baseline(task), "state": before}
    web = host.engine.named("web")
    assert web is not None
    web["State"]["Status"] = "paused"
    assert (await asyncio.wait_for(host.backend.probe(task, baseline), 30)).verdict == verdict


@pytest.mark.parametrize("moment", ["on the way back", "after it"])
async def test_former_container_that_is_renamed_late_gets_its_name_back(host: EngineHost, moment: str) -> None:
    """The connection broke at the rename, and the engine carries it out once the new container is removed."""
    [former] = host.engine.containers.values()
    task = host.task("container_update", OPERATION, container_name="web", image="box:1", recreate=True)
    host.engine.breaks = (3, "cut")
    running = asyncio.create_task(host.backend.run(task, print))

    async def is_back() -> bool:
        sent = [one for one in host.engine.requests if one.startswith("DELETE")]
        return bool(sent) and (moment == "on the way back" or looks_after(host, sent[0]) > 3)

    await eventually(is_back, what="the removal of the new container")
    former["Name"] = f"/{names_for('web', OPERATION).former}"
    done = await asyncio.wait_for(running, 30)
    assert (done.outcome, done.output["rolled_back"]) == ("failed", True)
    assert [(one["Id"], one["Name"]) for one in host.engine.containers.values()] == [(former["Id"], "/web")]
    assert former["State"]["Running"]


async def test_former_container_that_ends_during_the_wait_for_its_rename_is_started_again(host: EngineHost) -> None:
    [former] = host.engine.containers.values()
    task = host.task("container_update", OPERATION, container_name="web", image="box:1", recreate=True)
    host.engine.breaks = (3, "cut")
    running = asyncio.create_task(host.backend.run(task, print))

    async def is_waited_for() -> bool:
        sent = [one for one in host.engine.requests if one.startswith("DELETE")]
        return bool(sent) and looks_after(host, sent[0]) > 3

    await eventually(is_waited_for, what="the wait for the rename")
    host.engine._exit(former, 143)
    done = await asyncio.wait_for(running, 30)
    assert (done.outcome, done.output["rolled_back"]) == ("failed", True)
    assert former["State"]["Running"]


async def test_former_container_that_does_not_stay_up_is_not_started_again_and_again(host: EngineHost) -> None:
    task = host.task("container_update", OPERATION, container_name="web", image="box:1", recreate=True)
    host.engine.exits, host.engine.breaks = 1, (3, "cut")
    done = await asyncio.wait_for(host.backend.run(task, print), 30)
    assert (done.outcome, done.output["rolled_back"]) == ("unknown", False)
    assert "the engine may still rename it" not in done.message
    assert sum(one.endswith("/start") for one in host.engine.changes) == 2


def looks_after(host: EngineHost, request: str) -> int:
    after = host.engine.requests[host.engine.requests.index(request) :]
    return sum(one.startswith("GET /containers/") for one in after)
