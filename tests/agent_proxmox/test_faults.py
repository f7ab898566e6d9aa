"""Faults of the API: for each the outcome is true, and a change is sent once."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from tests.agent_proxmox.cluster import Cluster

from writ_agent.backends import connection_retries
from writ_agent_proxmox.connection.api import Api
from writ_agent_proxmox.connection.session import ApiSession
from writ_agent_proxmox.settings import ProxmoxConnection
from writ_agent_proxmox.tasks import work
from writ_agent_proxmox.tasks.guests import Guest, all_guests, find_guest, guests_of
from writ_agent_proxmox.tasks.upid import end_of, parse_upid, percent_of
from writ_contracts.errors import Conflict, Denied, Invalid, Unreachable, Untrusted, WritError
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import free_port
from writ_testing.peers.proxmox import ProxmoxFault
from writ_testing.suites.backend import ProgressRecorder

START = "/status/start"


@pytest.mark.parametrize(
    ("status", "text"), [(596, ""), (597, ""), (200, "<html>"), (200, "{}"), (200, "[" * 100_000), (504, "")]
)
async def test_a_change_without_a_reply_is_found_in_the_task_list(cluster: Cluster, status: int, text: str) -> None:
    cluster.server.pve.faults.append(ProxmoxFault("POST", START, status, text))
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.effect, done.over) == ("succeeded", "done", True)
    assert cluster.server.calls("POST", START) == 1
    assert cluster.web.status == "running"


async def test_change_without_a_task_of_proxmox_has_an_unknown_outcome(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SEARCH_SECONDS", 0.3)
    cluster.server.pve.fail("POST", START, 596, "no reply")
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.code, done.effect, done.over) == ("unknown", "no_reply", "maybe", False)
    assert cluster.server.calls("POST", START) == 1


async def test_an_earlier_task_is_not_taken_for_the_one_that_was_sent(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SEARCH_SECONDS", 0.3)
    await cluster.done("container_start", container_name="web")
    cluster.web.status = "stopped"
    cluster.server.pve.fail("POST", START, 596, "no reply")
    assert (await cluster.done("container_start", container_name="web")).outcome == "unknown"


@pytest.mark.parametrize("retries", [0, 2])
async def test_a_node_out_of_reach_is_tried_again_before_a_claim_as_its_target_says(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, retries: int
) -> None:
    monkeypatch.setattr(connection_retries, "FIRST_PAUSE", 0.001)
    calls: list[str] = []
    real = ApiSession.call

    def counted(session: ApiSession, method: str, path: Any, parameters: Any) -> Any:
        calls.append(method)
        return real(session, method, path, parameters)

    monkeypatch.setattr(ApiSession, "call", counted)
    away = {**cluster.target.connection, "port": free_port(), "connect_retries": retries}
    task = cluster.task("container_start", container_name="web")
    task = replace(task, target=replace(task.target, connection=away))
    for read in (cluster.backend.baseline(task), cluster.backend.preview(task)):
        calls.clear()
        with pytest.raises(Unreachable):
            await read
        assert calls == ["get"] * (retries + 1)
    calls.clear()
    with pytest.raises(Unreachable):
        await cluster.backend.listing(task.target, "list_containers")
    assert calls == ["get"] * (retries + 1)
    calls.clear()
    with pytest.raises(Unreachable):  # after a claim there is one attempt at a change
        await cluster.backend.run(task, ProgressRecorder())
    assert calls == ["get"]
    calls.clear()
    inspection = replace(cluster.task("container_inspect", container_name="web"), target=task.target)
    with pytest.raises(Unreachable):
        await cluster.backend.run(inspection, ProgressRecorder())
    assert calls == ["get"] * (retries + 1)


async def test_an_offline_node_is_named_and_blocks_no_other(cluster: Cluster) -> None:
    cluster.server.do(lambda pve: pve.add_node("pve2", online=False))
    cluster.server.vm(200, "far", node="pve2")
    with pytest.raises(Unreachable) as error:
        await cluster.done("container_start", container_name="far")
    assert error.value.code == "node_offline"
    assert (await cluster.done("container_start", container_name="web")).outcome == "succeeded"


async def test_a_node_that_answers_slowly_delays_no_other(cluster: Cluster) -> None:
    cluster.server.do(lambda pve: (pve.add_node("pve2"), pve.network["node_latency"].update(pve2=5.0)))
    cluster.server.vm(200, "far", node="pve2")
    cluster.server.pve.time_scale = 1.0
    slow = asyncio.gather(*(cluster.done("container_inspect", container_name="far") for _ in range(20)))
    assert (await cluster.done("container_inspect", container_name="web")).outcome == "succeeded"
    assert not slow.done()
    slow.cancel()
    cluster.server.pve.network["node_latency"].clear()


async def test_lost_quorum_is_named(cluster: Cluster) -> None:
    cluster.server.pve.quorate = False
    with pytest.raises(Unreachable) as error:
        await cluster.done("container_start", container_name="web")
    assert error.value.code == "no_quorum"


async def test_warnings_are_a_success_with_a_message(cluster: Cluster) -> None:
    cluster.server.pve.exits["qmstart"] = "WARNINGS: 2"
    cluster.web.status = "stopped"
    running = asyncio.create_task(cluster.done("container_start", container_name="web"))
    done = await running
    assert (done.outcome, done.message, done.state["warnings"]) == ("succeeded", "its task ended with 2 warnings", 2)


async def test_a_failed_task_says_why_in_proxmox_own_words(cluster: Cluster) -> None:
    cluster.web.start_error = "storage 'nfs' is not online"
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.code, done.message) == ("failed", "task_failed", "storage 'nfs' is not online")


@pytest.mark.parametrize(("operation", "guest"), [("container_start", "web"), ("container_stop", "deaf")])
async def test_a_lock_is_waited_for_and_named(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, operation: str, guest: str
) -> None:
    """A start shows it as its task's end, a stop as an HTTP error."""
    monkeypatch.setattr(work, "LOCK_SECONDS", 0.5)
    cluster.web.lock = cluster.deaf.lock = "backup"
    try:
        done = await cluster.done(operation, container_name=guest)
        assert (done.outcome, done.code, done.effect) == ("failed", "guest_locked", "none")
        assert "(backup)" in done.message
    except Conflict as error:
        assert error.code == "guest_locked"  # noqa: PT017 - one of two ways to refuse
        assert "(backup)" in str(error)  # noqa: PT017


async def test_a_lock_that_goes_away_is_waited_out(cluster: Cluster) -> None:
    cluster.web.lock = "backup"
    running = asyncio.create_task(cluster.done("container_start", container_name="web"))
    await eventually(lambda: _async(cluster.server.calls("POST", START) > 1))
    cluster.web.lock = None
    assert (await running).outcome == "succeeded"


async def test_a_guest_that_moved_meanwhile_is_followed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = [guests_of([{"type": "qemu", "vmid": 100, "name": "web", "node": "pve1"}], ProxmoxConnection(host="pve"))]
    true = all_guests

    async def late(api: Api) -> list[Guest]:
        return stale.pop() if stale else await true(api)

    monkeypatch.setattr(work, "all_guests", late)
    cluster.server.do(lambda pve: pve.add_node("pve2"))
    cluster.web.node = "pve2"
    assert (await cluster.done("container_start", container_name="web")).outcome == "succeeded"
    assert cluster.web.status == "running"


async def test_a_task_that_its_node_does_not_list_yet_is_queried_again(cluster: Cluster) -> None:
    cluster.server.pve.unknown_for = 3
    assert (await cluster.done("container_start", container_name="web")).outcome == "succeeded"


async def test_a_task_that_stays_unknown_has_an_unknown_outcome(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "UNKNOWN_TASK_SECONDS", 0.3)
    cluster.server.pve.unknown_for = 1000
    done = await cluster.done("container_start", container_name="web")
    assert (done.outcome, done.code) == ("unknown", "task_unknown")


async def test_a_token_revoked_while_a_task_runs_leaves_the_outcome_unknown(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "UNKNOWN_TASK_SECONDS", 0.3)
    pve = cluster.server.pve
    pve.time_scale, cluster.web.start_secs = 1.0, 5
    running = asyncio.create_task(cluster.done("container_start", container_name="web"))
    await eventually(lambda: _async(cluster.server.calls("POST", START) == 1))
    tokens, pve.apitokens = dict(pve.apitokens), {}
    done = await running
    pve.apitokens = tokens
    assert (done.outcome, done.code, done.over) == ("unknown", "task_unknown", False)
    assert "invalid token value" in done.message


async def test_a_refused_token_is_named_before_anything_is_done(cluster: Cluster) -> None:
    cluster.server.target(token="writ@pve!agent=00000000-0000-0000-0000-000000000000")
    with pytest.raises(Denied) as error:
        await cluster.done("container_start", container_name="web")
    assert error.value.code == "auth_failed"
    found = await cluster.backend.test_target(cluster.target)
    assert [(step.name, step.well) for step in found.steps] == [("credentials", False)]


async def test_another_certificate_is_refused_before_the_token_is_sent(cluster: Cluster) -> None:
    cluster.server.stop()
    cluster.server.start("another")
    cluster.server.pve.requests.clear()
    with pytest.raises(Untrusted) as error:
        await cluster.done("container_start", container_name="web")
    assert error.value.code == "certificate_changed"
    assert cluster.server.pve.requests == []


async def test_a_missing_right_is_named_with_the_command_that_grants_it(cluster: Cluster) -> None:
    cluster.server.do(lambda pve: pve.grant("writ@pve", "/vms", "VM.Audit"))
    try:
        with pytest.raises(Denied) as error:
            await cluster.done("container_start", container_name="web")
        found = await cluster.backend.test_target(cluster.target)
    finally:
        cluster.server.pve.acl = None
    assert error.value.code == "no_rights"
    assert "VM.PowerMgmt" in str(error.value)
    assert "container_inspect" in found.operations
    assert (
        "pveum acl modify / --tokens 'writ@pve!agent' --roles Writ-container_start" in found.lacking["container_start"]
    )


async def test_progress_shows_the_percentage(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "LOG_EVERY", 0.0)
    pve, heard = cluster.server.pve, ProgressRecorder()
    pve.time_scale, cluster.web.start_secs = 1.0, 30
    running = asyncio.create_task(cluster.backend.run(cluster.task("container_start", container_name="web"), heard))
    await eventually(lambda: _async(bool(pve.tasklog) and pve.tasklog[-1]["status"] == "running"))
    pve.tasklog[-1]["log"].append("INFO:  37% (12.0 GiB of 32.0 GiB) in 20s")
    await asyncio.wait_for(heard.first.wait(), 10)
    assert heard.words[0] == "qmstart: 37 %"
    (known,) = cluster.backend._works
    assert await cluster.backend.stop(known, 1.0)
    assert (await running).outcome == "cancelled"


async def test_no_token_is_in_an_error_or_a_note(cluster: Cluster) -> None:
    secret = "0badc0de-cafe-4bad-8f00-d0d0cacac0de"
    cluster.server.pve.fail("POST", START, 500, f"boom {secret}")
    with pytest.raises(Invalid) as error:
        await cluster.done("container_start", container_name="web")
    assert secret not in str(error.value)
    assert "<secret>" in str(error.value)
    assert [path for path in cluster.notes._folder.iterdir() if secret in path.read_text()] == []


@pytest.mark.parametrize("name", ["100", "../100", "web?force=1", "web/../deaf"])
async def test_guest_name_with_path_characters_is_refused(cluster: Cluster, name: str) -> None:
    with pytest.raises(WritError):
        await cluster.done("container_stop", container_name=name)
    assert cluster.server.calls("POST", "") == 0


def test_a_guest_has_one_spelling() -> None:
    rows = [
        {"type": "qemu", "vmid": 100, "name": "web", "node": "a"},
        {"type": "lxc", "vmid": 101, "name": "twin", "node": "a"},
        {"type": "lxc", "vmid": 102, "name": "twin", "node": "b"},
        {"type": "lxc", "vmid": 103, "name": "100", "node": "b"},
    ]
    guests = guests_of(rows, ProxmoxConnection(host="pve"))
    assert [guest.name for guest in guests] == ["web", "101", "102", "103"]
    with pytest.raises(Invalid, match="guest 100 has the name web"):
        find_guest(guests, "100")
    with pytest.raises(Invalid, match="no guest 'twin'"):
        find_guest(guests, "twin")
    assert [guest.vmid for guest in guests_of(rows, ProxmoxConnection(host="pve", node="b"))] == [102, 103]


def test_the_scope_of_a_target_is_a_node_a_pool_and_a_tag() -> None:
    rows = [
        {"type": "qemu", "vmid": 100, "name": "a", "node": "n", "pool": "prod", "tags": "web;db"},
        {"type": "qemu", "vmid": 101, "name": "b", "node": "n", "pool": "test", "tags": "web"},
    ]
    names = [guest.name for guest in guests_of(rows, ProxmoxConnection(host="pve", pool="prod", tag="db"))]
    assert names == ["a"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("OK", "ok"),
        ("WARNINGS: 3", "warnings"),
        ("unexpected status", "unknown"),
        (None, "unknown"),
        ("boom", "failed"),
    ],
)
def test_exit_status_of_a_proxmox_task_is_classified(text: str | None, kind: str) -> None:
    assert end_of(text).kind == kind


def test_a_upid_is_read_and_nothing_else_is() -> None:
    upid = parse_upid("UPID:pve1:0000ABCD:000012345:65A1B2C3:qmstart:100:root@pam!tok:")
    assert upid is not None
    assert (upid.node, upid.type, upid.id, upid.user) == ("pve1", "qmstart", "100", "root@pam!tok")
    assert parse_upid("UPID:../x:0000ABCD:00001234:65A1B2C3:qmstart:100:root@pam:") is None
    assert percent_of(["INFO:  12% a", "transferred 1.0 GiB (25.50%)", "done"]) == 25


async def _async(value: bool) -> bool:
    return value
