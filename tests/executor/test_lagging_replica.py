"""A replica that lags behind the journal, or has slept, may lose a race, but never breaks a rule."""

import asyncio

import pytest
from msgspec import json, structs
from tests.executor.conftest import World

from writ_bus.errors import Unreachable
from writ_bus.port import Entry, Message
from writ_contracts import errors, subjects
from writ_contracts.agents import ClaimMessage, ClaimReply
from writ_contracts.journal import Archived, Dispatched, Finished
from writ_contracts.life import AcceptedLife, Life, State, fold
from writ_contracts.requests import RequestReply
from writ_contracts.wire import decode, decode_event, encode
from writ_executor.journal.index import RECENTLY_ENDED, Index, Lock
from writ_executor.metrics import metrics
from writ_executor.service import Executor
from writ_testing.eventually import eventually
from writ_trust.sealing import SealKey

RESTART = {"parameters": {"service_name": "nginx"}}


async def asleep(world: World, operation_id: str = "", events: int = 0) -> Executor:
    """Return a replica with the first `events` of one operation, which reads no further."""
    one = await world.executor(sweep=1000.0)
    one.index.read = lambda *_: None  # type: ignore[method-assign]
    one.index.__init__()  # type: ignore[misc]
    if events:
        one.index.put(await first(world, operation_id, events))
    return one


async def first(world: World, operation_id: str, events: int) -> AcceptedLife:
    records = (await world.records(subjects.any_operation_filter(operation_id)))[:events]
    life = fold((record.sequence, decode_event(record.data)) for record in records)  # type: ignore[misc]
    assert isinstance(life, AcceptedLife)
    return life


async def claim_at(one: Executor, world: World, work: Dispatched) -> ClaimReply:
    claim = world.hands.claim_for(work, SealKey())
    message = Message(subjects.claim(world.hands.pool), encode(ClaimMessage(claim=claim, principal="alice")))
    return decode(encode(await one.claims.handle_claim(message)), ClaimReply)


async def ask_at(one: Executor, operation: str, **wish: object) -> RequestReply:
    data = json.encode({"target": "web-1", **wish})
    return await one.intake.handle_request(Message(subjects.request("alice", operation), data))


async def test_a_claim_at_a_replica_that_has_not_seen_the_dispatch_is_granted(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    one = await asleep(world, work.operation_id, events=1)
    assert (await claim_at(one, world, work)).grant


async def test_a_claim_of_the_second_attempt_at_a_replica_that_knows_the_first_is_granted(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_start", **RESTART)
    work = await world.work(answer.operation_id or "")
    await world.hands.finish(work, await world.hands.claim(work), outcome="unknown", over=True)
    again = await world.work(work.operation_id)
    assert again.attempt == 2
    one = await asleep(world, work.operation_id, events=3)
    known = one.index.get(work.operation_id)
    assert known
    assert structs.replace(known, time=0.0, first_time=0.0) == await first(world, work.operation_id, 3)
    assert (await claim_at(one, world, again)).grant


def leader_has(monkeypatch: pytest.MonkeyPatch, life: Life) -> None:
    """Let every read of an operation find it like this until the patch is undone."""

    async def read_life(*_: object) -> Life:
        return life

    monkeypatch.setattr("writ_executor.journal.lookup.read_life", read_life)


@pytest.mark.parametrize("stored", [0, 1])
async def test_a_claim_before_the_leader_has_the_dispatch_is_to_be_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch, stored: int
) -> None:
    """Another server of a cluster may deliver the dispatch first. After `gone` it would not be delivered again."""
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    one = await asleep(world)
    leader_has(monkeypatch, await first(world, work.operation_id, stored) if stored else Life())
    with pytest.raises(errors.Unreachable, match="yet: claim it again") as refused:
        await claim_at(one, world, work)
    assert refused.value.retry
    monkeypatch.undo()
    assert (await claim_at(one, world, work)).grant


async def test_a_claim_of_an_operation_whose_record_cannot_be_read_is_not_to_be_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    one = await asleep(world)

    async def read_life(*_: object) -> Life:
        raise errors.Invalid("a body of kind granted under the subject of another")

    monkeypatch.setattr("writ_executor.journal.lookup.read_life", read_life)
    with pytest.raises(errors.Invalid, match="a body of kind granted"):
        await claim_at(one, world, work)


async def test_a_claim_before_the_leader_has_the_second_dispatch_is_to_be_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.executor()
    answer = await world.ask("service_start", **RESTART)
    work = await world.work(answer.operation_id or "")
    await world.hands.finish(work, await world.hands.claim(work), outcome="unknown", over=True)
    again = await world.work(work.operation_id)
    one = await asleep(world)
    leader_has(monkeypatch, await first(world, work.operation_id, 3))
    with pytest.raises(errors.Unreachable, match=r"dispatch 2 of .* is not stored yet") as refused:
        await claim_at(one, world, again)
    assert refused.value.retry
    monkeypatch.undo()
    assert (await claim_at(one, world, again)).grant


async def test_another_request_with_the_same_key_never_reaches_the_parameters_of_the_first(world: World) -> None:
    await world.executor()
    mine = {"parameters": {"file_path": "/srv/app/a", "content": "mine"}, "idempotency_key": "k"}
    answer = await world.ask("file_write", **mine)
    one = await asleep(world)
    other = await ask_at(one, "file_write", parameters={**mine["parameters"], "content": "other"}, idempotency_key="k")  # type: ignore[dict-item]
    assert other.error
    assert other.error.code == "conflict"
    held = await world.hands.claim(await world.work(answer.operation_id or ""))
    assert held.parameters["content"] == "mine"


async def test_a_repeat_long_after_the_end_leaves_no_secret_behind(world: World) -> None:
    await world.executor()
    wish = {"parameters": {"file_path": "/srv/app/a", "content": "mine"}, "idempotency_key": "k"}
    answer = await world.ask("file_write", **wish)
    work = await world.work(answer.operation_id or "")
    await world.hands.finish(work, await world.hands.claim(work))
    await asyncio.gather(*(one.background.settle() for one in world.executors))
    requested = (await world.accepted(work.operation_id)).requested
    again = await ask_at(await asleep(world), "file_write", **wish)
    assert (again.operation_id, again.outcome) == (work.operation_id, "succeeded")
    assert await world.bus.params.get(f"{work.operation_id}.{requested.fingerprint}") is None


async def test_recorded_request_is_accepted_though_its_first_step_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(_: object, __: Life) -> Life:
        raise Unreachable("NATS is away for a moment")

    monkeypatch.setattr("writ_executor.steps.dispatch.Dispatcher.start", down)
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    assert (answer.error, answer.state) == (None, "requested")
    assert (await world.work(answer.operation_id or "")).attempt == 1


async def test_operation_read_early_does_not_overtake_an_earlier_one(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    life = await first(world, answer.operation_id or "", 1)
    index = Index()
    index.put(life)
    assert index.next_in(subjects.target_lock("web-1")) is None
    index.sequence = life.sequence
    assert index.next_in(subjects.target_lock("web-1")) == life


async def test_a_late_answer_opens_no_operation_that_ended_and_is_forgotten(world: World) -> None:
    one = await world.executor(sweep=1000.0)
    answer = await world.ask("service_restart", **RESTART)
    life = await first(world, answer.operation_id or "", 1)
    work = await world.work(answer.operation_id or "")
    await world.hands.finish(work, await world.hands.claim(work), outcome="succeeded")
    for number in range(RECENTLY_ENDED + 1):
        one.index.put(_ended(life, f"{number:026d}"))
    assert one.index.get(answer.operation_id or "") is None
    one.index.put(life)
    assert (one.index.count(), one.index.next_in(subjects.target_lock("web-1"))) == (0, None)


async def test_lock_of_a_later_event_than_the_index_counts_as_held(world: World) -> None:
    one = await world.executor(sweep=1000.0)
    one.index.sequence = 10
    assert one.index.holds(Lock("b" * 26, 11))
    assert not one.index.holds(Lock("b" * 26, 10))


async def test_a_damaged_history_keeps_no_replica_from_starting(world: World) -> None:
    one = await world.executor(sweep=1000.0)
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    life = await world.life(work.operation_id)
    subject = subjects.operation_event("alice", work.operation_id, "started")
    own = subjects.operation_filter("alice", work.operation_id)
    poison = Entry(subject=subject, data=b"\xff", event_id="x", filter=own, expected=life.sequence)
    last = await world.bus.journal.append(poison)
    assert await one.follower.reached(last)
    assert one.follower.damaged == 1
    await one.follower.save()
    other = await world.executor(sweep=1000.0)
    assert other.follower.damaged == 1
    assert (await ask_at(other, "service_status", **RESTART)).error is None


async def test_a_stop_carried_out_twice_is_set_once(world: World) -> None:
    one = await world.executor(sweep=1000.0)
    stop = await world.ask("stop_set", target="writ", parameters={"reason": "something is wrong"})
    operation_id = stop.operation_id or ""
    assert await world.outcome(operation_id) == "succeeded"
    started = await first(world, operation_id, 2)
    assert started.state is State.STARTED
    work = one.intake._accepted
    await asyncio.gather(*(work._controls.carry_out(started) for _ in range(3)), return_exceptions=True)
    assert len(await world.records(subjects.CONTROL)) == 1


async def test_a_stop_at_a_lagging_replica_lists_what_started_before_it(world: World) -> None:
    one = await world.executor(sweep=1000.0)
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    lagging, unread = await world.executor(sweep=1000.0), list[tuple[object, ...]]()
    read = lagging.index.read
    lagging.index.read = lambda *record: unread.append(record)  # type: ignore[method-assign]
    assert (await claim_at(one, world, work)).grant
    stop = await ask_at(lagging, "stop_set", target="writ", parameters={"reason": "something is wrong"})

    async def stored() -> bool:
        return bool(await world.records(subjects.CONTROL))

    await eventually(stored)
    lagging.index.read = read  # type: ignore[method-assign]
    for record in unread:
        read(*record)  # type: ignore[arg-type]
    lagging.follower._wake_waiters(lagging.index.sequence)
    assert await world.outcome(stop.operation_id or "") == "succeeded"
    end = (await world.life(stop.operation_id or "")).end
    assert isinstance(end, Finished)
    assert (end.output["running"], end.message) == ([work.operation_id], "")


async def test_a_preview_that_is_under_way_is_not_begun_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("writ_testing.memory.bus.NO_RESPONDERS_PATIENCE", 0.1)  # no agent is there
    one = await world.executor(sweep=1000.0)
    one.intake._accepted._host_reads.preview = _nothing  # type: ignore[method-assign, assignment]
    answer = await world.ask("service_restart", **RESTART, dry_run=True)
    life = await world.accepted(answer.operation_id)
    del one.intake._accepted._host_reads.preview
    before = len(world.policy.decides)
    await asyncio.gather(*(one.intake._accepted._host_reads.preview(life) for _ in range(5)))
    assert len(world.policy.decides) == before + 1


async def _nothing(_: Life) -> None:
    return None


async def test_unknown_operations_are_not_forgotten_over_those_that_ended_well(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    await world.hands.finish(work, await world.hands.claim(work), outcome="unknown", code="lost")
    life = await world.accepted(work.operation_id)
    assert life.state is State.UNKNOWN
    index = Index()
    index.put(life)
    for number in range(2_000):
        index.put(_ended(life, f"{number:026d}"))
    assert list(index.unknown()) == [life]
    assert index.get(work.operation_id) == life
    assert (("alice", work.operation_id)) in index.snapshot()


def _ended(life: AcceptedLife, operation_id: str) -> AcceptedLife:
    requested = structs.replace(life.requested, operation_id=operation_id)
    return structs.replace(life, state=State.ENDED, requested=requested)


async def test_archived_end_releases_the_target_on_a_lagging_replica(world: World) -> None:
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    one = await asleep(world, work.operation_id, events=2)
    known = one.index.get(work.operation_id)
    assert isinstance(known, AcceptedLife)
    assert known.state is State.DISPATCHED
    requested = known.requested
    event = Archived(
        id="archived",
        at=requested.at,
        correlation_id=requested.correlation_id,
        operation_id=requested.operation_id,
        principal=requested.principal,
        operation=requested.operation,
        target=requested.target,
        requested_at=requested.at,
        outcome="succeeded",
        fingerprint=requested.fingerprint,
        generation=1,
    )
    subject = subjects.operation_event(requested.principal, requested.operation_id, "archived")
    Index.read(one.index, 1000, subject, encode(event))
    assert (one.index.count(), one.index.next_in(subjects.target_lock("web-1"))) == (0, None)
    later = structs.replace(requested, operation_id="later")
    one.index.put(AcceptedLife(state=State.REQUESTED, sequence=1500, first_sequence=1500, requested=later, phase=later))
    one.index.sequence = 2000
    following = one.index.next_in(subjects.target_lock("web-1"))
    assert following
    assert following.requested == later


async def test_start_is_measured_once_if_another_copy_of_it_ends(world: World) -> None:
    measured = metrics()
    executor = await world.executor(measured)
    answer = await world.ask("service_restart", parameters={"service_name": "nginx"})
    await world.hands.claim(await world.work(answer.operation_id or ""))
    life = await executor.claims._lives.fresh("alice", answer.operation_id or "")
    assert isinstance(life, AcceptedLife)
    await executor.claims._outcomes.finish(life, outcome="succeeded")
    counted = f'writ_operation_stage_seconds_count{{pool="{world.hands.pool}",stage="claim"}} 1.0'
    assert counted in measured.exposition()[0].decode().splitlines()
