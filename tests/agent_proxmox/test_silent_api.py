"""An API that does not reply is reported to the requester while the operation waits, until it replies."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from tests.agent_proxmox.cluster import WEB, Cluster

from writ_agent.backends import silence_watch
from writ_agent_proxmox.connection import api
from writ_agent_proxmox.tasks import work
from writ_testing.eventually import eventually
from writ_testing.peers.proxmox import ProxmoxFault
from writ_testing.suites.backend import ProgressRecorder


@contextmanager
def hanging(cluster: Cluster) -> Iterator[None]:
    """Let the server accept connections and reply to nothing."""
    go_on = threading.Event()
    cluster.server._loop.call_soon_threadsafe(go_on.wait, 60)
    try:
        yield
    finally:
        go_on.set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ping sooner."""
    monkeypatch.setattr(silence_watch, "PAUSE", 0.1)
    monkeypatch.setattr(silence_watch, "STEPS", (1, 60))
    monkeypatch.setattr(api, "PING_SECONDS", 0.3)


async def until_said(words: list[object], count: int) -> None:
    async def enough() -> bool:
        return len(words) >= count

    await eventually(enough, within=30)


async def under_way(cluster: Cluster, heard: ProgressRecorder, seconds: float) -> "asyncio.Task[object]":
    """Start a guest, which takes so long, and return once its task runs."""
    pve = cluster.server.pve
    pve.time_scale, cluster.web.start_secs = 1.0, seconds
    run: asyncio.Task[object] = asyncio.create_task(
        cluster.backend.run(cluster.task("container_start", container_name="web"), heard)
    )

    async def running() -> bool:
        return bool(pve.tasklog) and pve.tasklog[-1]["status"] == "running"

    await eventually(running)
    return run


@pytest.mark.usefixtures("impatient")
async def test_api_that_hangs_during_a_task_is_reported_until_it_replies(cluster: Cluster) -> None:
    heard = ProgressRecorder()
    run = await under_way(cluster, heard, 1)
    with hanging(cluster):
        await until_said(heard.silences, 1)  # type: ignore[arg-type]
        target = cluster.target.id
        assert heard.silences[0][0] == target
        assert heard.silences[0][1].startswith(f"{target} has not replied for more than 1 s. If it stays silent, ")
    await until_said(heard.silences, 2)  # type: ignore[arg-type]
    assert heard.silences[1:] == [("", f"{target} replies again")]
    assert getattr(await asyncio.wait_for(run, 30), "outcome", None) == "succeeded"


async def test_node_that_does_not_report_a_task_is_named_until_it_does(cluster: Cluster) -> None:
    heard = ProgressRecorder()
    cluster.server.pve.faults.append(ProxmoxFault("GET", "/status", 595, "no route to host", times=2))
    run = await under_way(cluster, heard, 1)
    assert getattr(await asyncio.wait_for(run, 30), "outcome", None) == "succeeded"
    first, last = heard.words[0], heard.words[-1]
    assert first.startswith("waits for node pve1, which does not report the task: ")
    assert last == "qmstart goes on"


async def test_lock_of_a_guest_is_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "LOCK_SECONDS", 0.5)
    heard = ProgressRecorder()
    cluster.web.lock = "backup"
    task = cluster.task("container_start", container_name="web")
    done = await asyncio.wait_for(cluster.backend.run(task, heard), 30)
    assert done.code == "guest_locked"
    assert heard.words[0] == f"waits for the lock of guest {WEB} (config)"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [401, 403, 500])
async def test_api_that_refuses_the_ping_has_replied(cluster: Cluster, status: int) -> None:
    heard = ProgressRecorder()
    cluster.server.pve.faults.append(ProxmoxFault("GET", "/version", status, "no", times=1000))
    run = await under_way(cluster, heard, 3)
    assert getattr(await asyncio.wait_for(run, 30), "outcome", None) == "succeeded"
    assert heard.silences == []


@pytest.mark.usefixtures("impatient")
async def test_api_whose_other_calls_take_long_is_not_reported(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have every thread of the calls that concern no node."""
    heard, go_on, real, held = ProgressRecorder(), threading.Event(), api.Lane._call, threading.Semaphore(0)

    def slow(lane: api.Lane, method: str, path: tuple[object, ...], parameters: Mapping[str, Any]) -> Any:
        if path == ("cluster", "status"):
            held.release()
            go_on.wait(30)
            return []
        return real(lane, method, path, parameters)

    run = await under_way(cluster, heard, 3)
    monkeypatch.setattr(api.Lane, "_call", slow)
    calls = [asyncio.create_task(cluster.apis.of(cluster.target).get("cluster", "status")) for _ in range(api.THREADS)]
    for _ in calls:
        await asyncio.to_thread(held.acquire)
    assert getattr(await asyncio.wait_for(run, 30), "outcome", None) == "succeeded"
    go_on.set()
    await asyncio.gather(*calls)
    assert heard.silences == []


async def test_lock_that_gets_free_is_no_longer_waited_for_while_the_task_runs(cluster: Cluster) -> None:
    heard, pve = ProgressRecorder(), cluster.server.pve
    cluster.web.lock, pve.time_scale, cluster.web.start_secs = "backup", 1.0, 2
    run = asyncio.create_task(cluster.backend.run(cluster.task("container_start", container_name="web"), heard))
    await until_said(heard.words, 1)  # type: ignore[arg-type]
    cluster.web.lock = ""

    async def accepted() -> bool:
        return heard.words[-1] == f"guest {WEB} accepts the change"

    await eventually(accepted, within=30)
    assert not run.done()
    assert (await asyncio.wait_for(run, 30)).outcome == "succeeded"
