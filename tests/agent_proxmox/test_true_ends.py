"""Replies and tasks that end otherwise than they seem to, or not at all: the outcome is true and says what to do."""

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace
from tests.agent_proxmox.cluster import WEB, Cluster

from writ_agent.work import running
from writ_agent.work.running import Cause, RunningOperation
from writ_agent_proxmox.connection.api import Api
from writ_agent_proxmox.operations import nodes, power
from writ_agent_proxmox.settings import ProxmoxConnection
from writ_agent_proxmox.tasks import work
from writ_agent_proxmox.tasks.guests import Guest, all_guests, guests_of
from writ_contracts.errors import Conflict
from writ_testing.eventually import eventually
from writ_testing.peers.proxmox import ProxmoxFault
from writ_testing.suites.backend import ProgressRecorder

START = "/status/start"
PAGE = "<html><body>Service error</body></html>"


async def followed(cluster: Cluster, times: int) -> bool:
    return cluster.server.calls("GET", "/status") >= times


async def log_is_read(cluster: Cluster) -> bool:
    return cluster.server.calls("GET", "/log") > 0


def talk(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    """Give each task this log."""
    former = cluster.server.pve.task

    async def talking(*given: Any, **more: Any) -> str:
        return str(await former(*given, **{**more, "log": lines}))

    monkeypatch.setattr(cluster.server.pve, "task", talking)


def task_with_log(cluster: Cluster, *lines: str) -> str:
    """Return the UPID of a task that has ended, with this log."""

    async def at_once() -> None:
        return None

    pve = cluster.server.pve
    return str(cluster.server.run(pve.task("pve1", "qmstart", WEB, "root@pam", at_once, log=lines)))


async def test_backup_of_a_guest_that_has_moved_is_made_on_its_present_node(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the former node vzdump does nothing, and replies with OK."""
    row = {"type": "qemu", "vmid": WEB, "name": "web", "node": "pve1"}
    stale = [guests_of([row], ProxmoxConnection(host="pve"))]

    async def late(api: Api) -> list[Guest]:
        return stale.pop() if stale else await all_guests(api)

    monkeypatch.setattr(work, "all_guests", late)
    cluster.server.do(lambda pve: pve.add_node("pve2"))
    cluster.web.node = "pve2"
    done = await cluster.done("backup_create", container_name="web", backup_id="b1")
    assert (done.outcome, done.message) == ("succeeded", "")
    listed = await cluster.done("backup_list")
    assert [one["backup_id"] for one in listed.output["backups"]] == ["b1"]


@pytest.mark.parametrize("data", ["UPID:pve1:another form", None, {}], ids=["form", "none", "object"])
async def test_reply_that_names_no_task_is_no_success(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, data: Any
) -> None:
    monkeypatch.setattr(work, "SEARCH_SECONDS", 0.3)
    cluster.server.do(lambda pve: pve.exits.update(vzdump="storage is full"))
    cluster.server.pve.faults.append(ProxmoxFault("POST", "/vzdump", 200, json.dumps({"data": data})))
    done = await cluster.done("backup_create", container_name="web", backup_id="b1")
    assert (done.outcome, done.code, done.message) == ("failed", "task_failed", "storage is full")


async def test_read_is_repeated_after_an_error_page_of_a_proxy(cluster: Cluster) -> None:
    cluster.server.pve.faults.append(ProxmoxFault("GET", "/cluster/resources", 502, PAGE))
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.effect) == ("succeeded", "done")


@pytest.mark.parametrize(("status", "text"), [(500, PAGE), (520, PAGE), (505, "")], ids=[500, 520, 505])
async def test_error_page_of_another_server_is_no_refusal(cluster: Cluster, status: int, text: str) -> None:
    """A proxy before Proxmox may have passed the request on."""
    cluster.server.pve.faults.append(ProxmoxFault("POST", START, status, text))
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.effect) == ("succeeded", "done")
    assert cluster.server.calls("POST", START) == 1


async def test_token_that_is_refused_for_a_moment_leaves_the_task_followed(cluster: Cluster) -> None:
    cluster.server.pve.faults.append(ProxmoxFault("GET", "/status", 401, '{"data": null}', times=3))
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.effect) == ("succeeded", "done")


async def test_token_that_is_refused_before_and_after_an_absence_of_the_node_leaves_the_task_followed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a reboot of the node, however long it takes."""
    monkeypatch.setattr(work, "UNKNOWN_TASK_SECONDS", 0.0)
    for status in (401, 595, 401):
        cluster.server.pve.faults.append(ProxmoxFault("GET", "/status", status, '{"data": null}'))
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.effect) == ("succeeded", "done")


@pytest.mark.parametrize("cause", ["cancel", "shutdown"])
async def test_task_that_a_cancel_does_not_end_is_followed_to_its_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, cause: Cause
) -> None:
    """Its end is known then; and after a shutdown the note of it remains for the next agent."""
    monkeypatch.setattr(work, "STOP_SECONDS", 0.1)
    pve = cluster.server.pve
    cluster.server.do(lambda _: pve.deaf_tasks.add("qmstart"))
    pve.time_scale, cluster.web.start_secs = 1.0, 300
    task = replace(cluster.task("container_start", container_name="web"), timeout=100.0)
    operation = RunningOperation(cluster.backend, task, ProgressRecorder(), 0.1)
    waiting = asyncio.create_task(operation.wait())
    await eventually(lambda: followed(cluster, 1))
    assert not await operation.stop(cause)
    assert not waiting.done()
    assert cluster.notes.read(task.operation_id) is not None
    cluster.server.do(lambda _: vars(cluster.web).update(status="running"))
    ended = '{"data": {"status": "stopped", "exitstatus": "OK"}}'
    pve.faults.append(ProxmoxFault("GET", "/status", 200, ended))
    done = await waiting
    assert (done.outcome, done.effect) == ("succeeded", "done")


@pytest.mark.parametrize("fault", ["deaf", "away"])
async def test_task_without_an_end_is_unknown_in_time_and_named(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The task ignores its stop, or its node is away."""
    monkeypatch.setattr(work.GuestWork, "is_late", True)
    monkeypatch.setattr(work, "STOP_SECONDS", 0.2)
    monkeypatch.setattr(work, "ABANDON_SECONDS", 4.0)
    monkeypatch.setattr(running, "LAST_WORDS_SECONDS", 30.0)
    pve = cluster.server.pve
    cluster.server.do(lambda _: pve.deaf_tasks.add("qmstart"))
    pve.time_scale, cluster.web.start_secs = 1.0, 300
    task = replace(cluster.task("container_start", container_name="web"), timeout=100.0)
    operation = RunningOperation(cluster.backend, task, ProgressRecorder(), 0.1)
    waiting = asyncio.create_task(operation.wait())
    await eventually(lambda: followed(cluster, 1))
    if fault == "away":
        cluster.server.do(lambda _: pve.nodes["pve1"].update(online=False))
        read = cluster.server.calls("GET", "/status")
        await eventually(lambda: followed(cluster, read + 2))
    assert not await operation.stop("timeout")
    done = await waiting
    upid = str(pve.tasklog[-1]["upid"])
    assert (done.outcome, done.code, done.effect, done.over) == ("unknown", "timeout", "maybe", False)
    assert done.message.startswith("it was to end at its timeout. ")
    assert ("No route to host" if fault == "away" else "it still runs") in done.message
    assert done.message.endswith(f"task_log shows it: upid={upid}")
    assert done.state["tasks"] == [upid]


async def test_guest_that_stops_right_after_its_start_has_failed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power, "STOPPED_SECONDS", 0.0)
    stopped = '{"data": {"status": "stopped"}}'
    cluster.server.pve.faults.append(ProxmoxFault("GET", "/status/current", 200, stopped, times=1000))
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.code, done.effect) == ("failed", "container_exited", "done")
    assert "it has stopped again" in done.message


async def test_text_that_is_no_unicode_is_shown_with_marks(cluster: Cluster) -> None:
    upid = task_with_log(cluster, "half \ud800 of a character", r"a path \udir", "\U0001f600")
    done = await cluster.done("task_log", upid=upid, lines=20)
    assert done.output["log"].splitlines() == ["half ? of a character", r"a path \udir", "\U0001f600", "TASK OK"]
    body = b'{"data": {"status": "stopped", "exitstatus": "no file \xff"}}'.decode("latin-1")
    cluster.server.pve.faults.append(ProxmoxFault("GET", "/status", 200, body))
    cluster.server.do(lambda pve: pve.exits.update(qmstart="no disk \udcff"))
    failed = await RunningOperation(
        cluster.backend, cluster.task("container_start", container_name="web"), ProgressRecorder(), 0.1
    ).wait()
    assert (failed.outcome, failed.code) == ("failed", "task_failed")


async def test_end_of_a_long_log_is_shown_and_long_lines_are_cut(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "LOG_PAGE", 26_000)
    upid = task_with_log(cluster, *(f"line {number}" for number in range(60_000)), "x" * 300_000)
    done = await cluster.done("task_log", upid=upid, lines=3)
    assert done.output["log"].splitlines() == ["line 59999", "x" * 2000, "TASK OK"]


async def test_stop_is_not_held_up_by_the_reading_of_a_long_log(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LOG_EVERY": 0.0, "LOG_PAGE": 1, "MOST_PAGES": 1_000_000}.items():
        monkeypatch.setattr(work, name, value)
    pve = cluster.server.pve
    talk(cluster, monkeypatch, ["a line"] * 50_000)
    pve.time_scale, cluster.web.start_secs = 1.0, 300
    task = cluster.task("container_start", container_name="web")
    running = asyncio.create_task(cluster.backend.run(task, ProgressRecorder()))
    await eventually(lambda: log_is_read(cluster))
    assert await cluster.backend.stop(task.operation_id, 20.0)
    assert (await running).outcome == "cancelled"


async def test_log_of_a_change_has_the_last_lines(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "LOG_EVERY", 0.0)
    monkeypatch.setattr(work, "LOG_PAGE", 10)
    cluster.server.pve.unknown_for = 1  # its end is seen after a first look at its log
    talk(cluster, monkeypatch, [f"line {number}" for number in range(100)])
    done = await cluster.done("container_start", container_name="web")
    assert done.output["log"].splitlines()[-2:] == ["line 99", "TASK OK"]


async def test_another_guest_that_has_taken_the_name_is_left_alone(cluster: Cluster) -> None:
    """The decision was about the guest of the baseline."""
    decided = await cluster.backend.baseline(cluster.task("container_start", container_name="web"))
    task = replace(cluster.task("container_start", container_name="web"), baseline={**decided, "guest": "qemu/77"})
    with pytest.raises(Conflict) as refused:
        await cluster.backend.run(task, ProgressRecorder())
    assert refused.value.code == "guest_changed"
    assert cluster.server.calls("POST", START) == 0
