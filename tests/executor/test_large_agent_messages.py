"""Messages of agents are read up to the size of a correct one, and as many as agents send: others delay everybody."""

import pytest
from tests.executor.agent_requests import heartbeat
from tests.executor.conftest import POOL, World

from writ_contracts import subjects
from writ_contracts.agents import (
    LARGEST_CLAIM,
    LARGEST_HEARTBEAT,
    LARGEST_PROGRESS,
    LARGEST_REPORT,
    MOST_RUNNING,
    Acknowledgement,
    ClaimReply,
    Heartbeat,
    Progress,
)
from writ_contracts.ids import operation_id
from writ_contracts.journal import SecurityEvent
from writ_contracts.target_tests import MOST_OPERATIONS
from writ_contracts.wire import decode, encode
from writ_executor.agents import traffic
from writ_runtime import sender_warnings
from writ_testing.eventually import eventually


async def test_heartbeat_beyond_the_size_of_a_correct_one_is_not_read(world: World) -> None:
    executor = await world.executor()
    large = Heartbeat(pool=POOL, instance="large", running=[], free_slots=1, operations=[], version="0")
    await world.bus.publish(subjects.heartbeat(POOL), encode(large) + b" " * LARGEST_HEARTBEAT)
    await heartbeat(world, instance="honest")

    async def heard() -> bool:
        return bool(executor.presence.agents(POOL))

    await eventually(heard)
    assert [agent.instance for agent in executor.presence.agents(POOL)] == ["honest"]


async def test_flood_of_heartbeats_is_not_read_and_is_a_security_event_of_its_pool(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "BURST", 100.0)
    monkeypatch.setattr(traffic, "RATE", 0.0)
    executor = await world.executor()

    async def beat(pool: str, instance: str, *running: str) -> None:
        sent = Heartbeat(pool=pool, instance=instance, running=list(running), free_slots=1, operations=[], version="0")
        await world.bus.publish(subjects.heartbeat(pool), encode(sent))

    many = [operation_id("mallory", str(number)) for number in range(1000)]  # 29 KB
    for number in range(10):
        await beat(POOL, f"ghost-{number}", *many)
    await beat("other", "honest")

    async def recorded() -> list[SecurityEvent]:
        events = await world.events(subjects.SECURITY)
        heard = executor.presence.agents("other")
        return [one for one in events if isinstance(one, SecurityEvent)] if heard else []

    assert [(one.kind, one.pool) for one in await eventually(recorded)] == [("flood", POOL)]
    assert len(executor.presence.agents(POOL)) == 3


async def test_unreadable_messages_of_a_pool_fill_no_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    executor = await world.executor()
    caplog.clear()
    for number in range(100):
        await world.bus.publish(subjects.heartbeat(POOL), b"no heartbeat %d" % number)
        await world.bus.publish(subjects.progress(POOL), b"no progress %d" % number)
    await world.bus.publish(subjects.progress("other"), b"no progress")
    await heartbeat(world, instance="honest")

    def logged(event: str) -> int:
        return sum(one.getMessage() == event for one in caplog.records)

    async def heard() -> bool:
        return bool(executor.presence.agents(POOL)) and logged("progress.not_relayed") > few

    few = int(sender_warnings.BURST)
    await eventually(heard)
    assert (logged("heartbeat.refused"), logged("progress.not_relayed")) == (few, few + 1)


def test_largest_correct_heartbeat_and_progress_are_read() -> None:
    number = operation_id("alice", "one")
    names = [f"{at:064}" for at in range(MOST_OPERATIONS)]
    beat = Heartbeat(
        pool="p" * 63, instance="i" * 63, running=[number] * MOST_RUNNING, free_slots=1, operations=names, version="0"
    )
    assert len(encode(beat)) < LARGEST_HEARTBEAT
    progress = Progress(operation_id=number, principal="\0" * 255, message="\0" * 500, silent="\0" * 200)
    assert len(encode(progress)) < LARGEST_PROGRESS


@pytest.mark.parametrize(
    ("subject", "size", "answer"),
    [
        (subjects.claim(POOL), LARGEST_CLAIM, ClaimReply),
        (subjects.report(POOL), LARGEST_REPORT, Acknowledgement),
    ],
    ids=["claim", "report"],
)
async def test_claim_or_report_beyond_the_size_of_a_correct_one_is_refused(
    world: World, subject: str, size: int, answer: type[ClaimReply] | type[Acknowledgement]
) -> None:
    await world.executor()
    reply = decode((await world.bus.request(subject, b"{" + b" " * size, timeout=20)).data, answer)
    assert reply.error is not None
    assert reply.error.code == "oversize"


async def test_progress_that_a_replica_does_not_note_is_no_flood(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each replica receives what all of them together relay."""
    monkeypatch.setattr(traffic, "BURST", 100.0)
    monkeypatch.setattr(traffic, "RATE", 0.0)
    executor = await world.executor()
    while executor._traffic.admits("noted progress", POOL, 0, 0.0):
        pass
    number = operation_id("alice", "one")
    await world.bus.publish(
        subjects.progress(POOL), encode(Progress(operation_id=number, principal="alice", message="x"))
    )
    await heartbeat(world, instance="honest")

    async def heard() -> bool:
        return bool(executor.presence.agents(POOL))

    await eventually(heard)
    await executor.background.settle()
    assert [one for one in await world.events(subjects.SECURITY) if isinstance(one, SecurityEvent)] == []
