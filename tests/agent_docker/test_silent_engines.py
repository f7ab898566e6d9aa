"""An engine that does not reply is reported to the requester while the operation waits, until it replies."""

import asyncio
import time

import pytest
from tests.agent_docker.crash_cases import OPERATION
from tests.agent_docker.engine_host import EngineHost

from writ_agent.backends import silence_watch
from writ_containers.engine import pings
from writ_testing.eventually import eventually
from writ_testing.suites.backend import ProgressRecorder

END = "If it stays silent, its outcome is unknown at the timeout, 30 s after the start"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ping sooner."""
    monkeypatch.setattr(silence_watch, "PAUSE", 0.1)
    monkeypatch.setattr(silence_watch, "STEPS", (1, 60))
    monkeypatch.setattr(pings, "PING_SECONDS", 0.3)


async def until_reported(heard: ProgressRecorder, count: int) -> None:
    async def enough() -> bool:
        return len(heard.silences) >= count

    await eventually(enough, within=30)


async def test_engine_that_hangs_during_a_change_is_reported_until_it_replies(host: EngineHost) -> None:
    host.engine.put("web", running=True)
    host.engine.fail("POST", "/restart$", "late")
    host.engine.fail("GET", "/_ping$", "hang", times=1000)
    heard = ProgressRecorder()
    task = host.task("container_restart", OPERATION, timeout=30, container_name="web")
    run = asyncio.create_task(host.backend.run(task, heard))
    await until_reported(heard, 1)
    assert heard.silences == [("box", f"box has not replied for more than 1 s. {END}")]
    host.engine.faults.clear()
    await until_reported(heard, 2)
    assert heard.silences[1:] == [("", "box replies again")]
    host.engine.go_on.set()
    assert (await asyncio.wait_for(run, 20)).outcome == "succeeded"


async def test_engine_that_replies_to_pings_is_not_reported(host: EngineHost) -> None:
    """A pull without an end, say."""
    heard = ProgressRecorder()
    run = asyncio.create_task(host.backend.run(host.slow(OPERATION), heard))

    async def pinged() -> bool:
        return sum(one.endswith("/_ping") for one in host.engine.requests) >= 5

    await eventually(pinged, within=30)
    assert heard.silences == []
    assert heard.words[0] == f"pulls slow:{OPERATION}"
    assert await host.backend.stop(OPERATION, 1.0)
    await asyncio.wait_for(run, 20)


async def test_operations_on_one_engine_share_its_pings(host: EngineHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence_watch, "PAUSE", 0.5)
    names, began = [f"{number:026}" for number in range(8)], time.monotonic()
    runs = [asyncio.create_task(host.backend.run(host.slow(name), ProgressRecorder())) for name in names]

    async def pinged() -> bool:
        return sum(one.endswith("/_ping") for one in host.engine.requests) >= 3

    await eventually(pinged, within=30)
    assert time.monotonic() - began >= 1.4  # one after each pause, and not eight
    for name in names:
        assert await host.backend.stop(name, 1.0)
    await asyncio.wait_for(asyncio.gather(*runs, return_exceptions=True), 20)


async def test_pull_that_has_ended_is_no_longer_reported_while_the_container_is_made(host: EngineHost) -> None:
    host.engine.pullable.add("nginx:1")
    host.engine.fail("POST", "/containers/create", "late")
    heard = ProgressRecorder()
    task = host.task("container_create", OPERATION, timeout=30, container_name="web2", image="nginx:1", start=False)
    run = asyncio.create_task(host.backend.run(task, heard))

    async def creates() -> bool:
        return any("/containers/create" in one for one in host.engine.requests)

    await eventually(creates, within=30)
    assert heard.words[0] == "pulls nginx:1"
    assert heard.words[-1] == "the pull of nginx:1 has ended"
    host.engine.go_on.set()
    assert (await asyncio.wait_for(run, 20)).outcome == "succeeded"
