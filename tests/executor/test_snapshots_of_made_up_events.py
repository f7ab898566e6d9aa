"""A snapshot holds nothing that the journal does not have, also before the guard has compared the latest events.

Whoever can publish in the account of the executors can make up an event there, as if the journal had stored it.
"""

import time

import pytest
from msgspec import structs
from tests.executor.conftest import World
from tests.executor.test_lagging_replica import RESTART, ask_at

from writ_bus.errors import Unreachable
from writ_bus.port import Entry, Usage
from writ_contracts import subjects
from writ_contracts.history.records import Record
from writ_contracts.journal import Finished, SecurityEvent
from writ_contracts.wire import encode
from writ_executor.journal.index import Index
from writ_executor.journal.snapshots import SNAPSHOT_KEY, IndexSnapshot
from writ_executor.service import Executor
from writ_runtime.journal.journal_guard import CONFIRMED, digest_of
from writ_testing.eventually import eventually


async def dispatched(world: World) -> tuple[Executor, str]:
    """Return an executor that has read of one operation in flight, and stored a snapshot with it."""
    one = await world.executor(sweep=1000.0)
    operation_id = (await world.ask("service_restart", **RESTART)).operation_id or ""
    await world.work(operation_id)
    assert await one.follower.reached((await world.bus.journal.usage()).last_sequence)
    await one.follower.save_known()
    assert await world.bus.params.get(SNAPSHOT_KEY) is not None
    return one, operation_id


async def make_up_end(world: World, one: Executor, operation_id: str) -> None:
    """Let the executor read an end of the operation that is not in the journal."""
    now = time.time()
    end = Finished(id="z" * 20, at=now, correlation_id="c", operation_id=operation_id, outcome="succeeded")
    sequence = (await world.bus.journal.usage()).last_sequence + 1
    subject = subjects.operation_event("alice", operation_id, "finished")
    one.follower._apply_record(Record(sequence, subject, encode(end), {}, now))


async def grow(world: World) -> None:
    """Store another event where the journal was said to have the end."""
    subject = subjects.security_event("journal_replaced")
    event = SecurityEvent(id="q" * 20, at=time.time(), correlation_id="c", kind="journal_replaced", detail="x")
    entry = Entry(subject=subject, data=encode(event), event_id=event.id, filter=subject, expected=0)
    await world.bus.journal.append(entry)


async def assert_target_is_locked(world: World, operation_id: str) -> None:
    """Start another replica: it knows the operation, and begins no other one on its target."""
    other = await world.executor(sweep=1000.0)
    assert other.index.get(operation_id) is not None
    assert (await other.follower._guard.compare(), other.follower._guard.problem) == (False, None)
    second = await ask_at(other, "service_restart", **RESTART)
    assert second.error is None
    assert await world.kinds(second.operation_id or "") == ["requested"]


async def test_executor_that_read_a_made_up_end_reads_the_journal_again(world: World) -> None:
    one, operation_id = await dispatched(world)
    used = one.admission.quotas.used_ratios()
    await make_up_end(world, one, operation_id)
    assert [life.requested.operation_id for life in one.index.open()] == []
    for _ in range(CONFIRMED):
        assert await one.follower._guard.compare()

    async def trusts_again() -> bool:
        return one.follower._guard.problem is None

    await eventually(trusts_again, within=20.0)
    assert [life.requested.operation_id for life in one.index.open()] == [operation_id]
    assert one.admission.quotas.used_ratios() == used
    second = await ask_at(one, "service_restart", **RESTART)
    assert second.error is None
    assert await world.kinds(second.operation_id or "") == ["requested"]
    assert "Replace the executors' key" in str(await one.checks()["journal"]())


async def test_snapshot_with_an_end_that_the_guard_has_not_compared_yet_is_not_stored(world: World) -> None:
    one, operation_id = await dispatched(world)
    stored = await world.bus.params.get(SNAPSHOT_KEY)
    await make_up_end(world, one, operation_id)
    assert one.follower._guard.problem is None
    await one.follower.save_known()
    assert await world.bus.params.get(SNAPSHOT_KEY) == stored
    await grow(world)
    await assert_target_is_locked(world, operation_id)


async def test_stored_snapshot_with_an_event_that_the_journal_does_not_have_is_not_used(world: World) -> None:
    one, operation_id = await dispatched(world)
    await make_up_end(world, one, operation_id)
    await one.follower.save()
    await grow(world)
    await assert_target_is_locked(world, operation_id)


async def test_snapshot_is_not_stored_while_the_journal_cannot_be_read(world: World) -> None:
    one, operation_id = await dispatched(world)
    stored = await world.bus.params.get(SNAPSHOT_KEY)

    async def away() -> Usage:
        raise Unreachable("the server is away")

    one.follower._guard._journal.usage = away  # type: ignore[method-assign]
    await one.follower.save_known()
    del one.follower._guard._journal.usage
    assert await world.bus.params.get(SNAPSHOT_KEY) == stored
    await assert_target_is_locked(world, operation_id)


async def test_output_of_an_operation_is_no_snapshot(world: World) -> None:
    """An agent makes up the output, and a thief of the executors' key, who has not params.key, copies it."""
    one, operation_id = await dispatched(world)
    last = (await world.bus.journal.read(subjects.JOURNAL))[-1]
    snapshot = IndexSnapshot(sequence=last.sequence, control_sequence=0, open=[], last=digest_of(last))
    await one.intake._vault.keep_result("alice", operation_id, structs.asdict(snapshot))
    copied = await world.bus.results.get(f"alice.{operation_id}")
    assert copied is not None
    await world.bus.params.put(SNAPSHOT_KEY, copied, ttl=60)
    await assert_target_is_locked(world, operation_id)


@pytest.mark.parametrize(
    ("first", "said", "not_said"),
    [(5, "snapshot.of_archived_events", "snapshot.of_other_events"), (1, "snapshot.of_other_events", "archived")],
)
async def test_snapshot_of_archived_events_is_no_warning(
    world: World, caplog: pytest.LogCaptureFixture, first: int, said: str, not_said: str
) -> None:
    one, operation_id = await dispatched(world)
    caplog.set_level("INFO")
    snapshot = IndexSnapshot(sequence=1, control_sequence=0, open=[("alice", operation_id)], last="0" * 64)
    index, usage = Index(), structs.replace(await world.bus.journal.usage(), first_sequence=first)
    await one.follower._restore_verified(index, snapshot, usage)
    assert index.sequence == 0
    assert said in caplog.text
    assert not_said not in caplog.text
    assert ("WARNING" in caplog.text) == (first == 1)
