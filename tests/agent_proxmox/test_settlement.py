"""A killed agent settles its operation by its note and the node, and sends no request again."""

import asyncio

from tests.agent_proxmox.cluster import Cluster

from writ_agent.backends.port import TaskResult
from writ_agent_proxmox.tasks.task_notes import Note
from writ_testing.eventually import eventually

START = "/status/start"
NOTE = Note(node="pve1", type="qmstart,vzstart", id="100")


async def settled(cluster: Cluster, note: Note | None, operation: str = "container_start") -> TaskResult:
    """Return the outcome that the next agent reports; assert that it changed nothing."""
    task = cluster.task(operation, container_name="web")
    if note is not None:
        cluster.notes.write(task.operation_id, note)
    before = cluster.server.calls("POST", "")
    done = await cluster.backend.settle(task)
    assert cluster.server.calls("POST", "") == before
    assert (cluster.notes.read(task.operation_id) is None) == (done.over or note is None)
    return done


async def test_change_without_a_note_was_never_sent(cluster: Cluster) -> None:
    """An idempotent operation gets no outcome, so executors dispatch it again."""
    done = await settled(cluster, None, "container_restart")
    assert (done.outcome, done.code, done.effect) == ("failed", "agent_restarted", "none")
    assert (await settled(cluster, None)).outcome == "unknown"


async def test_a_noted_change_that_began_is_found_by_its_task(cluster: Cluster) -> None:
    await cluster.done("container_start", container_name="web")
    done = await settled(cluster, NOTE)
    assert (done.outcome, done.effect, done.over) == ("succeeded", "done", True)


async def test_noted_change_without_a_task_of_proxmox_is_unknown(cluster: Cluster) -> None:
    done = await settled(cluster, NOTE)
    assert (done.outcome, done.effect, done.over) == ("unknown", "maybe", False)


async def test_task_older_than_the_note_does_not_settle_it(cluster: Cluster) -> None:
    await cluster.done("container_start", container_name="web")
    known = [str(one["upid"]) for one in cluster.server.pve.tasklog]
    assert (await settled(cluster, Note(node="pve1", type=NOTE.type, id="100", known=known))).outcome == "unknown"


async def test_a_task_that_still_runs_is_unknown_and_goes_on(cluster: Cluster) -> None:
    cluster.server.pve.time_scale, cluster.web.start_secs = 1.0, 6
    running = asyncio.create_task(cluster.done("container_start", container_name="web"))

    async def begun() -> bool:
        return cluster.server.calls("POST", START) == 1

    await eventually(begun)
    upid = str(cluster.server.pve.tasklog[-1]["upid"])
    done = await settled(cluster, Note(node="pve1", type=NOTE.type, id="100", upid=upid))
    assert (done.outcome, done.over, done.message) == ("unknown", False, "its task: it still runs")
    assert (await running).outcome == "succeeded"


async def test_a_task_that_failed_is_reported_in_proxmox_own_words(cluster: Cluster) -> None:
    cluster.web.start_error = "no such disk"
    await cluster.done("container_start", container_name="web")
    done = await settled(cluster, NOTE)
    assert (done.outcome, done.code, done.message) == ("failed", "task_failed", "no such disk")


async def test_end_of_the_agent_between_two_steps_is_unknown(cluster: Cluster) -> None:
    await cluster.done("container_start", container_name="web")
    done = await settled(cluster, Note(node="pve1", type=NOTE.type, id="100", last=False))
    assert (done.outcome, done.over, done.message) == ("unknown", True, "the agent ended between two steps")


async def test_no_note_is_left_of_what_has_ended(cluster: Cluster) -> None:
    await cluster.done("container_start", container_name="web")
    assert list(cluster.notes._folder.iterdir()) == []
